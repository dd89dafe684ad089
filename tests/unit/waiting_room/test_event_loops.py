"""A waiting room that is used from several event loops, one after the other or at once."""

import asyncio
import gc
import threading

import anyio
import pytest

from tests.support import Clock, Scripted, get
from walltrack import CircuitBreaker, CircuitBreakerTransport, WaitingRoomTransport

BACKENDS = ("asyncio", "trio")
COOLDOWN = 3.0

pytestmark = [
    pytest.mark.parametrize("first", BACKENDS),
    pytest.mark.parametrize("second", BACKENDS),
]


def opened(clock: Clock) -> tuple[WaitingRoomTransport, CircuitBreaker]:
    """A waiting room at an open circuit."""
    breaker = CircuitBreaker(1, COOLDOWN, clock=clock)
    breaker.record_failure()
    inner = CircuitBreakerTransport(Scripted(200), breaker=breaker, listener=None)
    return WaitingRoomTransport(inner, clock=clock, listener=None), breaker


async def call(transport: WaitingRoomTransport) -> int:
    """Make a call that takes a moment at most."""
    with anyio.fail_after(10):
        return (await transport.handle_async_request(get())).status_code


class Abandoned:
    """An asyncio event loop with callers in the room, none of them ended."""

    def __init__(self, transport: WaitingRoomTransport) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)  # it complains of what is abandoned
        calls = [transport.handle_async_request(get()) for _ in range(3)]
        self.tasks = [self.loop.create_task(call) for call in calls]
        self.loop.run_until_complete(asyncio.sleep(0.01))


@pytest.mark.parametrize("collected", ["before", "while", "never"])
def test_waiters_of_a_closed_loop_do_not_count(
    first: str, second: str, clock: Clock, collected: str
) -> None:
    """Callers that were left behind wake no other, wherever their tasks are collected."""
    if first == "trio":
        return  # a trio run ends when all of its tasks have
    transport, _ = opened(clock)
    abandoned = Abandoned(transport)
    assert "<3 waiting>" in repr(transport)
    abandoned.loop.close()
    if collected == "before":
        abandoned.tasks.clear()
        gc.collect()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, transport)
            await anyio.sleep(0.01)
            assert "<1 waiting>" in repr(transport)
            if collected == "while":
                abandoned.tasks.clear()
                gc.collect()
            clock.advance(COOLDOWN)
            assert await call(transport) == 200  # the probe, which releases the waiter

    anyio.run(main, backend=second)
    abandoned.tasks.clear()
    gc.collect()
    assert vars(transport)["_rooms"] == {}


def test_two_running_loops_are_refused_with_an_explanation(
    first: str, second: str, clock: Clock
) -> None:
    """What would hang raises an error that says what to do; the first event loop goes on."""
    transport, _ = opened(clock)
    waiting, done = threading.Event(), threading.Event()
    ended: list[int] = []

    async def main() -> None:
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                ended.append(await call(transport))

            tasks.start_soon(wait)
            await anyio.sleep(0.01)
            waiting.set()
            await anyio.to_thread.run_sync(done.wait)
            clock.advance(COOLDOWN)
            ended.append(await call(transport))

    thread = threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": first})
    thread.start()
    assert waiting.wait(5)
    with pytest.raises(RuntimeError, match=r"^this WaitingRoomTransport is in use in another"):
        anyio.run(call, transport, backend=second)
    done.set()
    thread.join(5)
    assert ended == [200, 200]


def test_a_success_in_another_loop_wakes_nobody_here(first: str, second: str, clock: Clock) -> None:
    """It passes the closed circuit; waiters in the other loop notice that in their own time."""
    transport, breaker = opened(clock)
    waiting, done = threading.Event(), threading.Event()

    async def main() -> None:
        with anyio.move_on_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, transport)
                await anyio.sleep(0.01)
                waiting.set()
                await anyio.to_thread.run_sync(done.wait)
                assert "<1 waiting>" in repr(transport)
                tasks.cancel_scope.cancel()

    thread = threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": first})
    thread.start()
    assert waiting.wait(5)
    breaker.reset()
    assert anyio.run(call, transport, backend=second) == 200
    done.set()
    thread.join(5)
    assert vars(transport)["_rooms"] == {}
