"""A rate limit that is used from several event loops, one after the other or at once."""

import asyncio
import gc
import threading
from typing import Any

import anyio
import httpx
import pytest

from tests.support import Clock, Scripted, get
from walltrack.core.naming import origin_of
from walltrack.rate_limit.transport import RateLimitTransport

BACKENDS = ("asyncio", "trio")

pytestmark = [
    pytest.mark.parametrize("first", BACKENDS),
    pytest.mark.parametrize("second", BACKENDS),
]

HELD_BACK = httpx.Response(429, headers={"Retry-After": "30"})


async def never(_: float) -> None:
    """Sleep until cancelled."""
    await anyio.sleep_forever()


def layer(*steps: Any, clock: Clock, rate: float | None = 1, **options: Any) -> RateLimitTransport:  # noqa: ANN401 - handed on
    """The transport under test."""
    defaults = {"clock": clock, "sleep": clock.sleep, "listener": None}
    return RateLimitTransport(Scripted(*steps), rate, **{**defaults, **options})


async def use(transport: httpx.AsyncBaseTransport) -> int:
    """Send one request, within a moment."""
    with anyio.fail_after(2):
        return (await transport.handle_async_request(get())).status_code


async def use_thrice(transport: httpx.AsyncBaseTransport) -> list[int]:
    """Send three requests, one after the other."""
    return [await use(transport) for _ in range(3)]


class Abandoned:
    """An asyncio event loop with calls in line, none of them ended."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)  # it complains of what is abandoned
        calls = [transport.handle_async_request(get()) for _ in range(3)]
        self.tasks = [self.loop.create_task(call) for call in calls]
        self.loop.run_until_complete(asyncio.sleep(0.01))


@pytest.mark.parametrize("rate", [1, None])
def test_what_was_learnt_moves_along(first: str, second: str, clock: Clock, rate: Any) -> None:  # noqa: ANN401 - a number or None
    """A hold-back and the tokens that were taken hold in the second event loop as well."""
    transport = layer(HELD_BACK, 200, clock=clock, rate=rate)
    assert anyio.run(use, transport, backend=first) == 429
    assert anyio.run(use, transport, backend=second) == 200
    assert clock.sleeps == [30.0]
    anyio.run(use_thrice, transport, backend=first)
    assert clock.sleeps[1:] == ([1.0] * 3 if rate else [])


def test_calls_in_the_second_loop_stand_in_one_line(first: str, second: str, clock: Clock) -> None:
    """Only the first of them sleeps, as in the first event loop."""
    transport = layer(200, clock=clock, sleep=never)
    anyio.run(use, transport, backend=first)
    lines = vars(transport)["_lines"]

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(use, transport)
            await anyio.wait_all_tasks_blocked()
            assert len(lines.obtain(origin_of(get())).waiting) == 3
            tasks.cancel_scope.cancel()

    anyio.run(main, backend=second)


def test_a_line_of_a_closed_loop_does_not_count(first: str, second: str, clock: Clock) -> None:
    """Callers that were left behind take no turn, and wake no other when they are collected."""
    if first == "trio":
        return  # a trio run ends when all of its tasks have
    sleeps = [never, clock.sleep]

    async def sleep(seconds: float) -> None:
        await sleeps[0](seconds)

    transport = layer(200, clock=clock, sleep=sleep)
    abandoned = Abandoned(transport)
    abandoned.loop.close()
    del sleeps[0]

    assert anyio.run(use_thrice, transport, backend=second) == [200] * 3
    assert clock.sleeps == [1.0] * 3
    abandoned.tasks.clear()
    gc.collect()
    assert anyio.run(use, transport, backend=second) == 200


def test_a_loop_that_is_stopped_but_open_is_in_use(first: str, second: str, clock: Clock) -> None:
    """It may continue with its calls; when they have ended, the next event loop can be used."""
    if first == "trio":
        return  # a trio run cannot be stopped without an end
    transport = layer(200, clock=clock, sleep=never)
    abandoned = Abandoned(transport)
    with pytest.raises(RuntimeError, match=r"^this RateLimitTransport is in use in another event"):
        anyio.run(use, transport, backend=second)
    for task in abandoned.tasks:
        task.cancel()
    abandoned.loop.run_until_complete(asyncio.wait(abandoned.tasks))
    clock.advance(1.0)
    assert anyio.run(use, transport, backend=second) == 200
    abandoned.loop.close()


def test_two_running_loops_are_refused_with_an_explanation(
    first: str, second: str, clock: Clock
) -> None:
    """What would hang raises an error that says what to do; the first event loop goes on."""
    waits, refused = threading.Event(), threading.Event()
    ended: list[int] = []

    async def sleep(seconds: float) -> None:
        waits.set()
        await anyio.to_thread.run_sync(refused.wait)
        await clock.sleep(seconds)

    transport = layer(200, clock=clock, sleep=sleep)

    async def main() -> None:
        ended.extend(await use_thrice(transport))

    thread = threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": first})
    thread.start()
    assert waits.wait(5)
    with pytest.raises(RuntimeError, match=r"^this RateLimitTransport is in use in another event"):
        anyio.run(use, transport, backend=second)
    refused.set()
    thread.join(5)
    assert ended == [200] * 3
    assert anyio.run(use, transport, backend=second) == 200


def test_calls_in_another_loop_are_held_back_when_their_turn_comes(
    first: str, second: str, clock: Clock
) -> None:
    """A response that arrives while another event loop's calls wait keeps its value, and counts."""
    waits, told = threading.Event(), threading.Event()
    arrived, ended = threading.Event(), list[int]()
    sleeps: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.set()
        await anyio.to_thread.run_sync(told.wait)
        sleeps.append(seconds)
        await clock.sleep(seconds)

    async def late(_: httpx.Request) -> httpx.Response:
        arrived.set()
        await anyio.to_thread.run_sync(waits.wait)
        return httpx.Response(429, headers={"Retry-After": "50"})

    # The first request goes in the second loop, before the first loop has any that wait.
    transport = layer(late, HELD_BACK, 200, clock=clock, rate=None, sleep=sleep)

    async def main() -> None:
        assert arrived.wait(5)
        ended.extend(await use_thrice(transport))

    thread = threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": first})
    thread.start()
    assert anyio.run(use, transport, backend=second) == 429
    told.set()
    thread.join(5)
    assert ended == [429, 200, 200]
    assert sleeps == [30.0, 20.0]
