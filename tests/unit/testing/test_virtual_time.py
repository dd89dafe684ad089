import math
import time as real
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest

from tests.support import get
from walltrack import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    RetryTransport,
    TimeLimitExceededError,
)
from walltrack.testing import ScriptedTransport, VirtualTime
from walltrack.timeout.transport import TimeoutTransport

pytestmark = pytest.mark.anyio


@pytest.fixture
async def driven() -> AsyncIterator[VirtualTime]:
    """Virtual time in a fixture, as in a user's tests."""
    async with VirtualTime() as time:
        yield time


async def test_hours_pass_in_no_time() -> None:
    """A sleep takes exactly its length in virtual time, and almost no real time."""
    began = real.monotonic()
    async with VirtualTime() as time:
        await time.sleep(24 * 3600)
        await time.sleep(0.5)
        assert time.monotonic() == 24 * 3600 + 0.5
    assert time.slept == [24 * 3600, 0.5]
    assert real.monotonic() - began < 5


async def test_it_can_be_a_fixture(driven: VirtualTime) -> None:
    """This works in a framework that runs fixtures and tests in one task."""
    await driven.sleep(30)
    assert driven.monotonic() == 30


async def test_retries_and_a_cooldown_in_no_time() -> None:
    """A whole outage passes on the clock of the layers."""
    async with VirtualTime() as time:
        script = ScriptedTransport([500, 500, httpx.Response(200, headers={"x": "y"})])
        breaker = CircuitBreaker(2, 30, clock=time.monotonic)
        transport = RetryTransport(
            CircuitBreakerTransport(script, breaker=breaker, listener=None),
            sleep=time.sleep,
            listener=None,
        )
        assert (await transport.handle_async_request(get())).status_code == 500
        assert time.monotonic() == 1
        with pytest.raises(CircuitBreakerOpenError):
            await transport.handle_async_request(get())
        await time.sleep(30)
        assert (await transport.handle_async_request(get())).status_code == 200


async def test_a_time_limit_strikes_in_no_time() -> None:
    """The layer's clock and timer, and the slow response, all use virtual time."""
    async with VirtualTime() as time:

        async def slow(_: httpx.Request) -> int:
            await time.sleep(60)
            return 200

        limited = TimeoutTransport(
            ScriptedTransport([slow]), 30, clock=time.monotonic, timer=time.move_on_after
        )
        with pytest.raises(TimeLimitExceededError):
            await limited.handle_async_request(get())
        assert time.monotonic() == 30
        assert repr(time) == "VirtualTime(30 s, 0 waiting)"


async def test_a_date_in_retry_after_is_met() -> None:
    """The wall clock and the monotonic one are the same time."""
    start = datetime(2030, 1, 1, 12, tzinfo=UTC)
    async with VirtualTime(start) as time:
        busy = httpx.Response(503, headers={"retry-after": "Tue, 01 Jan 2030 12:00:45 GMT"})
        transport = RetryTransport(
            ScriptedTransport([busy, 200]), sleep=time.sleep, wall_clock=time.time, listener=None
        )
        await transport.handle_async_request(get())
        assert time.monotonic() == 45
        assert time.time() == start.timestamp() + 45


async def test_sleepers_wake_in_the_order_of_their_moments() -> None:
    """Each sees its own moment on the clock, and acts in it."""
    seen: list[tuple[int, float]] = []

    async def sleeper(time: VirtualTime, seconds: int) -> None:
        await time.sleep(seconds)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        seen.append((seconds, time.monotonic()))

    async with VirtualTime() as time, anyio.create_task_group() as group:
        for seconds in (30, 10, 20, 10):
            group.start_soon(sleeper, time, seconds)
    assert seen == [(10, 10.0), (10, 10.0), (20, 20.0), (30, 30.0)]


async def test_a_thousand_sleepers_of_one_moment_have_their_turns_in_order() -> None:
    """They wake first come, first served, also on trio, which otherwise shuffles its tasks."""
    began: list[int] = []
    woke: list[int] = []

    async def sleeper(time: VirtualTime, number: int) -> None:
        began.append(number)
        await time.sleep(5)
        woke.append(number)

    async with VirtualTime() as time, anyio.create_task_group() as group:
        for number in range(1000):
            group.start_soon(sleeper, time, number)
    assert woke == began
    assert time.monotonic() == 5


async def test_time_stands_still_while_somebody_works() -> None:
    """However many turns of the event loop the work takes."""
    order: list[str] = []

    async def work() -> None:
        for _ in range(300):
            await anyio.lowlevel.checkpoint()
        order.append("worked")

    async def sleeper(time: VirtualTime) -> None:
        await time.sleep(0.001)
        order.append("slept")

    async with VirtualTime() as time, anyio.create_task_group() as group:
        group.start_soon(sleeper, time)
        group.start_soon(work)
    assert order == ["worked", "slept"]


async def test_a_sleep_of_nothing_is_a_turn_for_others() -> None:
    """Zero or less, again and again, takes no time and does not block."""
    async with VirtualTime() as time:
        for seconds in (0, 0.0, -1.0):
            await time.sleep(seconds)
        assert time.monotonic() == 0
    assert time.slept == [0, 0.0, -1.0]
    with anyio.CancelScope() as scope:
        scope.cancel()
        await time.sleep(0)
    assert scope.cancelled_caught


async def test_a_sleep_of_nothing_next_to_a_sleeper() -> None:
    """Time does not move, neither for it nor by it, and others' work does not delay it."""
    order: list[str] = []

    async def work() -> None:
        for _ in range(300):
            await anyio.lowlevel.checkpoint()
        order.append("worked")

    async def sleeper(time: VirtualTime) -> None:
        await time.sleep(60)
        order.append("slept")

    async with VirtualTime() as time, anyio.create_task_group() as group:
        group.start_soon(sleeper, time)
        group.start_soon(work)
        while not time.slept:
            await anyio.lowlevel.checkpoint()
        for seconds in (0, 0.0, -60.0):
            await time.sleep(seconds)
            assert time.monotonic() == 0
        assert repr(time) == "VirtualTime(0 s, 1 waiting)"
        order.append("nothing")
    assert order == ["nothing", "worked", "slept"]
    assert time.slept == [60, 0, 0.0, -60.0]
    assert time.monotonic() == 60


async def test_a_cancelled_sleeper_leaves_nothing_behind() -> None:
    """Time does not advance to the moment at which it would have woken."""
    async with VirtualTime() as time:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(time.sleep, 3600)
            while len(time.slept) < 100:
                await anyio.lowlevel.checkpoint()
            assert repr(time) == "VirtualTime(0 s, 100 waiting)"
            group.cancel_scope.cancel()
        assert repr(time) == "VirtualTime(0 s, 0 waiting)"
        await time.sleep(1)
        assert time.monotonic() == 1


async def test_a_sleeper_cancelled_as_time_was_to_move() -> None:
    """If it was the only sleeper, time stays, and moves on with the next one."""
    async with VirtualTime() as time, anyio.create_task_group() as group:

        async def briefly() -> None:
            with anyio.CancelScope() as scope:
                group.start_soon(cancel_later, scope)
                await time.sleep(60)

        async def cancel_later(scope: anyio.CancelScope) -> None:
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        await briefly()
        await anyio.wait_all_tasks_blocked()
        assert time.monotonic() == 0
        await time.sleep(1)
        assert time.monotonic() == 1


async def test_for_ever_is_for_ever() -> None:
    """An infinite sleep does not move time to infinity."""
    async with VirtualTime() as time:
        with time.move_on_after(5) as scope:
            await time.sleep(math.inf)
        assert scope.cancelled_caught
        assert time.monotonic() == 5


async def test_a_scope_is_cancelled_by_this_time() -> None:
    """It is cancelled while its block waits; the timer of one left in time is removed."""
    async with VirtualTime() as time:
        with time.move_on_after(30) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert time.monotonic() == 30
        with time.move_on_after(30) as scope:
            await time.sleep(29)
        assert not scope.cancel_called
        await time.sleep(100)
        assert time.monotonic() == 159
        assert not scope.cancel_called


async def test_what_is_due_first_wins() -> None:
    """If a sleep and its limit end together, the limit counts, since it began first."""
    async with VirtualTime() as time:
        with time.move_on_after(5) as scope:
            await time.sleep(5)
        assert scope.cancelled_caught
        with time.move_on_after(0) as scope:
            await time.sleep(0)
        assert scope.cancelled_caught
        with time.move_on_after(None) as scope:
            await time.sleep(1)
        assert scope.deadline == math.inf
        with time.move_on_after(5, shield=True) as scope:
            assert scope.shield
            assert scope.deadline == time.monotonic() + 5


class _MineError(Exception):
    pass


async def test_an_exception_comes_out_as_it_is() -> None:
    """It is raised unchanged, and not in a group."""
    error = _MineError()

    async def story() -> None:
        async with VirtualTime() as time:
            await time.sleep(3)
            raise error

    with pytest.raises(_MineError) as caught:
        await story()
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None


async def test_a_cancellation_from_outside_comes_through() -> None:
    """The block may be in a sleep or in the work before it."""
    for wait in ("sleep", "work"):
        with anyio.CancelScope() as scope:
            async with VirtualTime() as time:
                if wait == "sleep":
                    with time.move_on_after(1):
                        await anyio.sleep_forever()
                scope.cancel()
                await time.sleep(60)
        assert scope.cancelled_caught
        assert repr(time).endswith("0 waiting)")


async def test_a_cancelled_block_may_end_without_an_await() -> None:
    """In that case leaving the block raises it, and the driver ends as well."""
    ended = False
    with anyio.CancelScope() as scope:
        async with VirtualTime():
            scope.cancel()
        await anyio.lowlevel.checkpoint()
        ended = True
    assert not ended


async def test_a_task_that_outlives_it_gets_an_error() -> None:
    """It does not sleep without end."""
    heard: list[str] = []

    async def late(time: VirtualTime) -> None:
        with pytest.raises(RuntimeError, match="ended while a task slept in it") as caught:
            await time.sleep(60)
        heard.append(str(caught.value))

    async with anyio.create_task_group() as group, VirtualTime() as time:
        group.start_soon(late, time)
        while not time.slept:
            await anyio.lowlevel.checkpoint()
        await time.sleep(1)
    assert len(heard) == 1


async def test_one_task_enters_it_and_another_one_leaves_it() -> None:
    """As a fixture of pytest-asyncio or pytest-trio does, with the test in a third task."""
    time = VirtualTime()
    before = len(anyio.get_running_tasks())

    async def enter() -> None:
        assert await time.__aenter__() is time

    async def leave() -> None:
        await time.__aexit__(None, None, None)

    for number in (1, 2):
        for half in (enter, partial(time.sleep, 60), leave):
            async with anyio.create_task_group() as group:
                group.start_soon(half)
        assert time.monotonic() == number * 60
        assert len(anyio.get_running_tasks()) == before


async def test_another_event_loop_is_refused(anyio_backend_name: str) -> None:
    """The driver could not wake a task of another event loop; no timer is left behind."""

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="VirtualTime was entered in another event loop"):
            await time.sleep(1)
        with pytest.raises(RuntimeError, match="VirtualTime was entered in another event loop"):
            time.move_on_after(1)

    async with VirtualTime() as time:
        run = partial(anyio.run, elsewhere, backend=anyio_backend_name)
        await anyio.to_thread.run_sync(run)
        assert time.slept == []
        assert repr(time) == "VirtualTime(0 s, 0 waiting)"


@pytest.mark.parametrize("wait", ["sleep", "scope"])
async def test_when_time_cannot_move_on_the_waiting_and_the_block_get_an_error(
    monkeypatch: pytest.MonkeyPatch, wait: str
) -> None:
    """No task waits for a time that will not come, and the error keeps the reason."""
    fault = AttributeError("no such event loop")

    async def failing() -> None:
        raise fault

    monkeypatch.setattr(anyio, "wait_all_tasks_blocked", failing)

    async def story() -> None:
        async with VirtualTime() as time:
            if wait == "sleep":
                await time.sleep(60)
            with time.move_on_after(60):
                await anyio.sleep_forever()
            assert time.monotonic() == 0
            with pytest.raises(RuntimeError, match="VirtualTime cannot move on"):
                await time.sleep(1)
            with pytest.raises(RuntimeError, match="VirtualTime cannot move on"):
                time.move_on_after(1)

    with pytest.raises(RuntimeError, match="VirtualTime cannot move on") as caught:
        await story()
    assert caught.value.__cause__ is fault


async def test_an_exception_of_the_block_goes_before_a_cancellation() -> None:
    """Leaving the block contains no wait at which a cancellation could replace it."""
    with anyio.CancelScope() as scope, pytest.raises(_MineError):  # noqa: PT012 - the order matters
        async with VirtualTime():
            scope.cancel()
            raise _MineError


async def test_it_serves_again_but_not_twice_at_once() -> None:
    """A second block continues at the same time; a nested one is rejected."""
    time = VirtualTime()
    for _ in range(2):
        async with time:
            with pytest.raises(RuntimeError, match="VirtualTime is in use"):
                await time.__aenter__()
            await time.sleep(2)
    assert time.monotonic() == 4


async def test_time_is_moved_manually() -> None:
    """Without `async with`, `advance` moves the time."""
    time = VirtualTime()
    breaker = CircuitBreaker(1, 30, clock=time.monotonic)
    breaker.record_failure()
    time.advance(29)
    assert not breaker.can_execute()
    time.advance(1)
    assert breaker.can_execute()
    with time.move_on_after(5) as scope:
        time.advance(5)
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_time_is_moved_manually_inside_the_block() -> None:
    """A task wakes if time jumps past the moment it waited for."""
    async with VirtualTime() as time, anyio.create_task_group() as group:
        group.start_soon(time.sleep, 10)
        while not time.slept:
            await anyio.lowlevel.checkpoint()
        time.advance(25)
    assert time.monotonic() == 25


async def test_without_a_driver_a_sleep_moves_time_by_itself() -> None:
    """Other tasks run meanwhile, and two sleeps from the same moment do not add up."""
    time = VirtualTime()
    await time.sleep(3)
    assert time.monotonic() == 3
    async with anyio.create_task_group() as group:
        group.start_soon(time.sleep, 5)
        group.start_soon(time.sleep, 2)
    assert time.monotonic() == 8
    with anyio.CancelScope() as scope:
        scope.cancel()
        await time.sleep(100)
    assert time.monotonic() == 8


def test_the_date_is_what_was_asked_for() -> None:
    """It is the given one, in any time zone, and by default the same in each run."""
    noon = datetime(2031, 5, 6, 12, tzinfo=timezone(timedelta(hours=2)))
    assert datetime.fromtimestamp(VirtualTime(noon).time(), UTC) == noon
    assert datetime.fromtimestamp(VirtualTime().time(), UTC) == datetime(2030, 1, 1, tzinfo=UTC)
    assert VirtualTime().monotonic() == 0.0


@pytest.mark.parametrize(
    ("start", "error", "text"),
    [
        (datetime(2030, 1, 1), ValueError, "start must have a time zone"),  # noqa: DTZ001 - that is it
        (0.0, TypeError, "start must be a datetime"),
    ],
)
def test_a_start_without_a_place_in_time_is_refused(
    start: Any,  # noqa: ANN401 - bad input
    error: type[Exception],
    text: str,
) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=text):
        VirtualTime(start)


@pytest.mark.parametrize("tasks", [1, 2, 3])
async def test_time_stands_still_while_a_task_hears_of_the_end_of_another(tasks: int) -> None:
    """Time does not move in between, at whichever step of the event loop the other task ends."""

    async def nested(depth: int, turns: int) -> None:
        if depth:
            async with anyio.create_task_group() as group:
                group.start_soon(nested, depth - 1, turns)
        else:
            await time.sleep(1)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()

    for turns in range(25):
        async with VirtualTime() as time, anyio.create_task_group() as others:
            others.start_soon(time.sleep, 100)
            await nested(tasks, turns)
            assert time.monotonic() == 1
            others.cancel_scope.cancel()


@pytest.mark.parametrize("bad", [math.nan, "1", True, None])
async def test_what_is_no_time_is_refused(bad: Any) -> None:  # noqa: ANN401 - bad input
    """Every method that takes a time rejects it."""
    time = VirtualTime()
    with pytest.raises((TypeError, ValueError), match="seconds must be"):
        await time.sleep(bad)
    with pytest.raises((TypeError, ValueError), match="seconds must be"):
        time.advance(bad)
    if bad is not None:
        with pytest.raises((TypeError, ValueError), match="delay must be"):
            time.move_on_after(bad)
    assert time.slept == []


@pytest.mark.parametrize("bad", [-1, math.inf])
def test_time_moves_on_and_not_too_far(bad: float) -> None:
    """Time moves neither backwards nor to infinity."""
    with pytest.raises(ValueError, match="seconds must be a finite number of at least 0"):
        VirtualTime().advance(bad)
