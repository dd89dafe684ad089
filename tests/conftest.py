"""Fixtures for every test. `anyio_backend` runs each async test on asyncio and on trio."""

import gc
from collections.abc import Iterator

import pytest

from tests.support import Clock, ConnectionBody, Events


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of tests/scenarios."""
    group = parser.getgroup("scenarios")
    group.addoption("--scenarios", type=int, help="how many random scenarios to run")
    group.addoption("--scenario-seed", type=int, help="run the scenario of this seed only")


@pytest.fixture(scope="session", autouse=True)
def _short_collections() -> Iterator[None]:
    """Keep what was imported out of the garbage collector's way.

    It would stop every thread for longer than the shortest timeouts are.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _no_proxies() -> Iterator[None]:
    """Pass by the proxies that the environment of the tests may name: all is on loopback."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


@pytest.fixture(autouse=True)
def _bodies_are_read_as_on_a_connection() -> Iterator[None]:
    """Fail a test in which a body was misread, also where a layer discarded what that raised."""
    ConnectionBody.misreads.clear()
    yield
    misreads = list(ConnectionBody.misreads)
    ConnectionBody.misreads.clear()
    assert misreads == []


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
def events() -> Events:
    """A listener that keeps what it hears."""
    return Events()
