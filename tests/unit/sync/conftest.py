"""Fixtures for the tests of the bridge: an event loop in a thread, threads, and none left over."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from walltrack.sync.loop_thread import Backend, LoopThread

SOON = 20.0
"""Seconds in which everything has to happen."""

Start = Callable[..., Future[Any]]


def loop_threads() -> list[threading.Thread]:
    """The threads of event loops that are alive."""
    return [thread for thread in threading.enumerate() if thread.name == "walltrack event loop"]


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until what other threads do makes `condition` true."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves an event loop running."""
    yield
    wait_until(lambda: not loop_threads())


@pytest.fixture
def start() -> Iterator[Start]:
    """Call a function in a thread of its own, as a future."""
    with ThreadPoolExecutor(40) as threads:
        yield threads.submit


async def nothing() -> None:
    """Close nothing."""


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each event loop."""
    chosen: Backend = request.param
    return chosen


@pytest.fixture
def loop(backend: Backend) -> Iterator[LoopThread]:
    """An event loop in a thread."""
    made = LoopThread(backend, nothing)
    yield made
    made.stop()
