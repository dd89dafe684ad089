import threading

import anyio
import anyio.lowlevel
import pytest

from tests.unit.sync.conftest import nothing
from walltrack.sync.call import Job
from walltrack.sync.loop_thread import LoopThread


async def thread() -> str:
    """The name of the thread that runs the event loop."""
    await anyio.lowlevel.checkpoint()
    return threading.current_thread().name


def test_trio_stays_in_its_own_thread() -> None:
    """Also for a caller that is alone."""
    loop = LoopThread("trio", nothing)
    try:
        assert [Job(loop, thread).result() for _ in range(3)] == ["walltrack event loop"] * 3
    finally:
        loop.stop()


def test_nothing_can_be_called_after_its_end() -> None:
    """The error is that of trio."""
    loop = LoopThread("trio", nothing)
    loop.stop()
    with pytest.raises(RuntimeError):
        loop._events.soon(print)  # noqa: SLF001 - the thread suppresses it
