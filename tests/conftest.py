"""Fixtures for every test. `anyio_backend` runs each async test on asyncio and on trio."""

import pytest

from tests.support import Clock, Events


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
def events() -> Events:
    """A listener that keeps what it hears."""
    return Events()
