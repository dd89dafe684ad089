from types import TracebackType
from typing import Self

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.support import Scripted
from walltrack.sync.call import Job
from walltrack.sync.loop_thread import Backend, LoopThread
from walltrack.sync.visit import Visit, close_all

Why = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
NO_REASON: Why = (None, None, None)


class Tasks(httpx.AsyncBaseTransport):
    """Holds a task group open, which only the task may leave that has entered it."""

    def __init__(self) -> None:
        self.why: list[object] = []
        self.ended = False

    async def __aenter__(self) -> Self:
        self.group = await anyio.create_task_group().__aenter__()
        self.group.start_soon(self._work)
        return self

    async def __aexit__(self, *why: object) -> None:
        self.why.extend(why)
        self.group.cancel_scope.cancel()
        await self.group.__aexit__(None, None, None)

    async def _work(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self.ended = True


def test_a_transport_is_entered_and_left_in_one_task(loop: LoopThread) -> None:
    """Its exit method gets the exception that ends the block."""
    inner = Tasks()
    visit = Visit(loop, inner)
    visit.result()
    assert not inner.ended
    error = ValueError()
    visit.leave(ValueError, error, None)
    assert inner.ended
    assert inner.why == [ValueError, error, None]


def test_what_entering_raises_is_raised(loop: LoopThread) -> None:
    """Nothing is entered then."""

    class Closed(httpx.AsyncBaseTransport):
        async def __aenter__(self) -> Self:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        Visit(loop, Closed()).result()


def test_what_leaving_raises_is_raised(loop: LoopThread) -> None:
    """As from an asynchronous client."""

    class Stuck(httpx.AsyncBaseTransport):
        async def __aexit__(self, *_: object) -> None:
            raise LookupError("mine")

    visit = Visit(loop, Stuck())
    visit.result()
    with pytest.raises(LookupError, match="mine"):
        visit.leave(*NO_REASON)


def test_leaving_is_no_error_once_the_event_loop_has_ended(loop: LoopThread) -> None:
    """It has been left by then, or broken off."""
    visit = Visit(loop, Scripted(200))
    visit.result()
    loop.stop()
    visit.leave(*NO_REASON)


def test_closing_leaves_wherever_it_was_entered(backend: Backend) -> None:
    """And waits until that is done, also if closing fails."""

    class Failing(Tasks):
        async def aclose(self) -> None:
            raise LookupError("mine")

    inner = Failing()
    visits: list[Visit] = []

    async def close() -> None:
        await close_all(inner, visits)

    loop = LoopThread(backend, close)
    visits.append(Visit(loop, inner))
    visits[0].result()
    with pytest.raises(LookupError, match="mine"):
        loop.stop()
    assert inner.ended
    assert inner.why == [None, None, None]


def test_closing_waits_for_no_one_who_has_left(loop: LoopThread) -> None:
    """Each entered transport is left once."""
    inner = Scripted(200)
    visit = Visit(loop, inner)
    visit.result()
    visit.leave(*NO_REASON)
    Job(loop, close_all, inner, [visit]).result()
    assert (inner.entered, inner.exited, inner.closed) == (1, 1, 1)
