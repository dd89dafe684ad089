"""Fixtures for the tests of what sends over the network."""

import httpcore2
import pytest

from tests.unit.http.fake_core import Core


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> type[Core]:
    """The pools that are made in place of httpcore2's, and the steps that they take."""
    monkeypatch.setattr(Core, "made", [], raising=False)
    monkeypatch.setattr(Core, "steps", [], raising=False)
    monkeypatch.setattr(httpcore2, "AsyncConnectionPool", Core)
    return Core
