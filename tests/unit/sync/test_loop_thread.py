import asyncio
import atexit
import contextvars
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio

from tests.unit.sync.conftest import SOON, Start, loop_threads, nothing, wait_until
from walltrack import TransportClosedError
from walltrack.sync import loop_thread
from walltrack.sync.call import Job
from walltrack.sync.loop_thread import Backend, LoopThread

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


async def library() -> str:
    """The library of the event loop that runs."""
    await anyio.lowlevel.checkpoint()
    return sniffio.current_async_library()


def test_it_runs_the_event_loop_that_was_asked_for(loop: LoopThread, backend: Backend) -> None:
    """In a daemon: one that is not needed does not keep the program alive."""
    assert Job(loop, library).result() == backend
    assert [thread.daemon for thread in loop_threads()] == [True]


def test_a_task_sees_the_context_of_the_caller(loop: LoopThread) -> None:
    """A copy of it: what the task sets stays in the task."""

    async def seen() -> str:
        value = VARIABLE.get()
        VARIABLE.set("by the task")
        return value

    def call() -> tuple[str, str]:
        VARIABLE.set("by the caller")
        return Job(loop, seen).result(), VARIABLE.get()

    assert contextvars.copy_context().run(call) == ("by the caller", "by the caller")


def test_the_library_of_the_caller_does_not_confuse_the_task(
    loop: LoopThread, backend: Backend
) -> None:
    """A coroutine on trio that calls a synchronous client has trio in its context."""

    def call() -> object:
        other = "trio" if backend == "asyncio" else "asyncio"
        sniffio.current_async_library_cvar.set(other)
        return Job(loop, library).result()

    assert contextvars.copy_context().run(call) == backend


def test_its_own_thread_cannot_wait_for_it(loop: LoopThread) -> None:
    """The error says so, and where such a call can come from."""

    async def call() -> None:
        Job(loop, anyio.lowlevel.checkpoint).result()

    with pytest.raises(RuntimeError, match=r"own event loop.*listener"):
        Job(loop, call).result()


def test_a_forked_process_cannot_wait_for_it(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says so; stopping the event loop there does nothing."""
    with monkeypatch.context() as patch:
        patch.setattr(loop_thread, "getpid", lambda: -1)
        assert not loop.is_of_this_process
        with pytest.raises(RuntimeError, match=r"opened before os\.fork\(\)"):
            Job(loop, library).result()
        loop.stop()
    assert not loop.closing
    Job(loop, library).result()


def test_stopping_closes_in_the_event_loop(backend: Backend) -> None:
    """Once, and the thread has ended then."""
    closed = []

    async def close() -> None:
        await anyio.lowlevel.checkpoint()
        closed.append(threading.current_thread().name)

    loop = LoopThread(backend, close)
    loop.stop()
    assert closed == ["walltrack event loop"]
    assert loop.over
    assert not loop_threads()
    loop.stop()
    assert len(closed) == 1


def test_stopping_without_closing() -> None:
    """What was closed already is not closed again."""

    async def close() -> None:
        raise AssertionError

    LoopThread("asyncio", close).stop(close=False)


def test_stopping_without_waiting(backend: Backend) -> None:
    """The thread ends by itself, soon after."""
    loop = LoopThread(backend, nothing)
    loop.stop(wait=False)
    wait_until(lambda: loop.over)


def test_what_closing_raises_is_raised_once_the_thread_has_ended(backend: Backend) -> None:
    """Nothing is left behind all the same."""

    async def close() -> None:
        raise LookupError("mine")

    loop = LoopThread(backend, close)
    with pytest.raises(LookupError, match="mine"):
        loop.stop()
    assert not loop_threads()


def test_a_closing_that_hangs_is_cancelled(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread ends in bounded time."""
    monkeypatch.setattr(loop_thread, "_CLOSING_SECONDS", 0.01)
    LoopThread(backend, anyio.sleep_forever).stop()
    assert not loop_threads()


def test_calls_that_closing_ends_have_time_to_end_by_themselves(
    backend: Backend, start: Start
) -> None:
    """Their own exception says more than the one that they would get."""
    closed: list[Any] = []

    async def close() -> None:
        closed[0]()

    async def wait() -> None:
        event = anyio.Event()
        closed.append(event.set)
        await event.wait()
        await anyio.sleep(0.001)
        raise LookupError("mine")

    loop = LoopThread(backend, close)
    waiting = start(Job(loop, wait).result)
    wait_until(lambda: closed)
    loop.stop()
    with pytest.raises(LookupError, match="mine"):
        waiting.result(SOON)


def test_calls_that_do_not_end_are_cancelled(backend: Backend, start: Start) -> None:
    """Each thread gets a TransportClosedError, and the tasks have cleaned up."""
    cleaned_up = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned_up.append(1)

    loop = LoopThread(backend, nothing)
    calls = [Job(loop, wait) for _ in range(3)]
    waiting = [start(call.result) for call in calls]
    wait_until(lambda: all(call.begun for call in calls))
    loop.stop()
    for future in waiting:
        with pytest.raises(TransportClosedError):
            future.result(SOON)
    assert len(cleaned_up) == 3


def test_a_call_after_the_end_is_refused(loop: LoopThread) -> None:
    """It never begins."""
    loop.stop()
    call = Job(loop, library)
    with pytest.raises(TransportClosedError):
        call.result()
    assert not call.begun


def test_a_call_during_the_closing_is_refused(backend: Backend, start: Start) -> None:
    """It would open connections that are not closed any more."""
    closing, going_on = threading.Event(), threading.Event()

    async def close() -> None:
        closing.set()
        going_on.wait(SOON)

    loop = LoopThread(backend, close)
    stopping = start(loop.stop)
    assert closing.wait(SOON)
    with pytest.raises(TransportClosedError):
        Job(loop, library).result()
    going_on.set()
    stopping.result(SOON)


def test_a_call_that_arrives_during_the_closing_is_refused(loop: LoopThread, start: Start) -> None:
    """It was on its way already when the closing began."""
    late = Job(loop, library)
    waiting = []

    async def close_meanwhile() -> None:
        waiting.append(start(late.result))
        wait_until(lambda: late in loop._calls)  # noqa: SLF001 - it is on its way
        loop.closing = True
        loop._begin(late)  # noqa: SLF001 - it arrives
        loop.closing = False

    Job(loop, close_meanwhile).result()
    with pytest.raises(TransportClosedError):
        waiting[0].result(SOON)
    assert not late.begun


def test_a_call_that_never_arrives_is_ended_with_the_event_loop(
    loop: LoopThread, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came too late for the event loop, and too early to be refused."""
    call = Job(loop, library)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "soon", lambda *_: None)
        patch.setattr(loop._events, "serve_here", lambda *_: False)  # noqa: SLF001 - it crosses
        waiting = start(call.result)
        wait_until(lambda: call in loop._calls)  # noqa: SLF001 - it is on its way
    loop.stop()
    with pytest.raises(TransportClosedError):
        waiting.result(SOON)


def test_an_event_loop_that_breaks_down_leaves_no_thread_waiting(start: Start) -> None:
    """On asyncio, any task that raises SystemExit ends the event loop."""

    async def exits() -> None:
        raise SystemExit

    async def wait() -> None:
        task = asyncio.create_task(exits())
        await asyncio.wait([task])

    loop = LoopThread("asyncio", nothing)
    with pytest.raises((TransportClosedError, asyncio.CancelledError)):
        start(Job(loop, wait).result).result(SOON)
    wait_until(lambda: loop.over)
    with pytest.raises(TransportClosedError):
        Job(loop, library).result()


def test_an_event_loop_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised in the thread that opens it."""

    def missing(*_: object, **__: object) -> None:
        raise LookupError("pip install")

    monkeypatch.setattr(anyio, "run", missing)
    with pytest.raises(LookupError, match="pip install"):
        LoopThread("trio", nothing)


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupt_while_the_thread_starts_ends_it(
    monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """While the thread starts, or once the event loop runs: the caller has nothing to stop."""
    waits: list[int] = []

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(1)
            if at > 1:
                super().wait(timeout)
            if len(waits) == at:
                raise KeyboardInterrupt
            return True

    monkeypatch.setattr(threading, "Event", Event)
    with pytest.raises(KeyboardInterrupt):
        LoopThread("asyncio", nothing)
    monkeypatch.undo()
    wait_until(lambda: not loop_threads())


def test_the_end_of_the_program_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of the closing is of no interest any more; later there is nothing to stop."""
    at_exit: list[Any] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(atexit, "unregister", at_exit.remove)

    async def close() -> None:
        raise LookupError

    loop = LoopThread("asyncio", close)
    (stop,) = at_exit
    stop()
    assert loop.over
    wait_until(lambda: not at_exit)


def test_a_stack_overflow_is_raised_and_the_call_not_waited_for(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks as if the event loop had ended, which ends its calls itself."""

    def overflow(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(loop._events, "soon", overflow)  # noqa: SLF001 - it depends on the stack
    with pytest.raises(RecursionError):
        loop.soon(lambda: None)
    monkeypatch.undo()
