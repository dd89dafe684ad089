import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import Clock
from tests.virtual_time import VirtualTime, settle
from walltrack.rate_limit.token_bucket import TokenBucket
from walltrack.rate_limit.waiting_line import WaitingLine

pytestmark = pytest.mark.anyio


def a_line(time: VirtualTime, rate: float | None = 1.0, burst: int = 1) -> WaitingLine:
    """A line in front of a bucket; by default a token comes back every second."""
    return WaitingLine(TokenBucket(rate, 1.0, burst), time, time.sleep)


class Crowd:
    """Tasks that wait in a line, and when each of them got its token or was rejected."""

    def __init__(self, line: WaitingLine, time: VirtualTime, group: anyio.abc.TaskGroup) -> None:
        self.line = line
        self.time = time
        self.group = group
        self.began = time.now
        self.went: list[tuple[str, float]] = []
        self.sent_away: list[tuple[str, float, float]] = []
        self.scopes: dict[str, anyio.CancelScope] = {}

    async def join(self, name: str, patience: float = math.inf) -> None:
        """Start one more waiter."""
        self.group.start_soon(self._stand, name, patience)
        await settle()

    async def _stand(self, name: str, patience: float) -> None:
        with anyio.CancelScope() as self.scopes[name]:
            room = await self.line.take(patience)
            now = self.time.now - self.began
            if room is None:
                self.went.append((name, now))
            else:
                self.sent_away.append((name, now, room))


@asynccontextmanager
async def a_crowd(line: WaitingLine, time: VirtualTime) -> AsyncIterator[Crowd]:
    """A crowd whose waiters end before the block does; one that still waits is an error."""
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            yield Crowd(line, time, group)


async def test_waiters_go_in_order_each_at_its_time() -> None:
    """First come, first served, an interval apart."""
    time = VirtualTime()
    line = a_line(time)
    assert line.bucket.take(time())
    async with a_crowd(line, time) as crowd:
        for name in "abc":
            await crowd.join(name)
        await time.advance(10)
    assert crowd.went == [("a", 1), ("b", 2), ("c", 3)]
    assert not line.waiting


async def test_only_the_first_one_sleeps() -> None:
    """One timer runs, regardless of the number of waiters."""
    time = VirtualTime()
    line = a_line(time)
    line.bucket.take(time())
    async with a_crowd(line, time) as crowd:
        for number in range(50):
            await crowd.join(str(number))
        assert len(time.sleepers) == 1
        assert len(line.waiting) == 50
        await time.advance(50)
    assert not time.sleepers


@pytest.mark.parametrize(
    ("leaves", "went"),
    [
        ("a", [("b", 1), ("c", 2), ("d", 3)]),
        ("b", [("a", 1), ("c", 2), ("d", 3)]),
        ("d", [("a", 1), ("b", 2), ("c", 3)]),
        ("ab", [("c", 1), ("d", 2)]),
        ("ba", [("c", 1), ("d", 2)]),
        ("abcd", []),
    ],
)
async def test_a_cancelled_waiter_leaves_its_place_to_those_behind(
    leaves: str, went: list[tuple[str, float]]
) -> None:
    """Whichever waiter is cancelled, no token is lost, and no time."""
    time = VirtualTime()
    line = a_line(time)
    line.bucket.take(time())
    async with a_crowd(line, time) as crowd:
        for name in "abcd":
            await crowd.join(name)
        await time.advance(0.5)
        for name in leaves:
            crowd.scopes[name].cancel()
        await time.advance(10)
    assert crowd.went == went
    assert not line.waiting
    assert line.idle


async def test_one_that_is_cancelled_as_its_turn_comes_takes_nothing() -> None:
    """The next one is woken instead, at the same moment."""
    time = VirtualTime()
    line = a_line(time, burst=1)
    line.bucket.take(time())
    async with a_crowd(line, time) as crowd:
        for name in "abc":
            await crowd.join(name)
        time.now += 1.0
        first = next(iter(line.waiting))
        crowd.scopes["a"].cancel()
        crowd.scopes["b"].cancel()
        first.wake()
        await time.advance(10)
    assert crowd.went == [("c", 1)]


async def test_all_may_be_cancelled_at_once() -> None:
    """Cancelling a task group leaves the line empty and the bucket unchanged."""
    time = VirtualTime()
    line = a_line(time)
    line.bucket.take(time())
    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(line.take, math.inf)
        await settle()
        assert len(line.waiting) == 200
        group.cancel_scope.cancel()
    assert not line.waiting
    assert not time.sleepers
    assert line.bucket.opens_in(time()) == 1.0


async def test_a_wait_that_is_too_long_is_not_begun() -> None:
    """The expected wait includes the waiters ahead."""
    time = VirtualTime()
    line = a_line(time)
    line.bucket.take(time())
    async with a_crowd(line, time) as crowd:
        await crowd.join("a")
        await crowd.join("b", patience=1.5)
        assert crowd.sent_away == [("b", 0, 2.0)]
        await crowd.join("c", patience=2.0)
        await time.advance(5)
    assert crowd.went == [("a", 1), ("c", 2)]


async def test_a_wait_as_long_as_the_longest_is_begun() -> None:
    """Rounding rejects no waiter: three waits of 0.1 s add up to slightly more than 0.3 s."""
    time = VirtualTime(0.0)
    line = WaitingLine(TokenBucket(1, 0.1), time, time.sleep)
    line.bucket.take(time())
    async with a_crowd(line, time) as crowd:
        for name in "abc":
            await crowd.join(name, patience=0.3)
        await time.advance(1)
    assert [name for name, _ in crowd.went] == ["a", "b", "c"]


async def test_all_waiters_are_delayed() -> None:
    """A hold-back delays the sleeping waiter, too; then a burst goes, and the rest at the rate."""
    time = VirtualTime()
    line = a_line(time, burst=2)
    line.bucket.take(time())
    line.bucket.take(time())
    async with a_crowd(line, time) as crowd:
        for name in "abc":
            await crowd.join(name)
        await time.advance(0.5)
        assert line.hold_back(4.5) == 4.5
        await time.advance(20)
    assert crowd.went == [("a", 5), ("b", 5), ("c", 6)]


async def test_a_waiter_that_cannot_wait_that_long_is_refused_at_once() -> None:
    """This holds for the sleeping first waiter and for later ones; those behind move up."""
    time = VirtualTime()
    line = a_line(time)
    line.bucket.take(time())
    async with a_crowd(line, time) as crowd:
        for name, patience in (("a", 9.0), ("b", 11.5), ("c", 10.0), ("d", 11.5), ("e", 11.5)):
            await crowd.join(name, patience)
        await time.advance(0.5)
        line.hold_back(10.0)
        await settle()
        assert sorted(crowd.sent_away) == [("a", 0.5, 10), ("c", 0.5, 11), ("e", 0.5, 12)]
        assert len(line.waiting) == 2
        await time.advance(20)
    assert crowd.went == [("b", 10.5), ("d", 11.5)]


async def test_a_little_more_is_noticed_when_the_turn_comes() -> None:
    """A hold-back that grows in small steps rejects no waiter before its turn comes."""
    time = VirtualTime()
    line = a_line(time, rate=None)
    line.hold_back(5.0)
    async with a_crowd(line, time) as crowd:
        await crowd.join("a", patience=5.2)
        await crowd.join("b", patience=9.0)
        await time.advance(0.5)
        assert line.hold_back(5.0) == 0.0
        await time.advance(4.5)
        assert crowd.sent_away == [("a", 5, 0.5)]
        await time.advance(5)
    assert crowd.went == [("b", 5.5)]


async def test_one_that_is_cancelled_when_its_turn_has_come_takes_nothing() -> None:
    """It was woken already, but has not run yet."""
    time = VirtualTime()
    line = a_line(time, burst=2)
    scope = anyio.CancelScope()

    async def goes() -> None:
        await line.take(math.inf)
        scope.cancel()  # of the waiter that was woken just now

    async def does_not_go() -> None:
        with scope:
            await line.take(math.inf)

    line.hold_back(5.0)
    async with anyio.create_task_group() as group:
        group.start_soon(goes)
        await settle()
        group.start_soon(does_not_go)
        await time.advance(5)
    assert scope.cancelled_caught
    assert line.bucket.take(time())
    assert not line.bucket.take(time())


async def test_to_be_sent_away_and_cancelled_at_once_is_to_leave_once() -> None:
    """The first waiter and the one behind it are each removed once."""
    time = VirtualTime()
    line = a_line(time)
    line.bucket.take(time())
    async with a_crowd(line, time) as crowd:
        for name in "ab":
            await crowd.join(name, patience=3.0)
        line.hold_back(10.0)
        for name in "ab":
            crowd.scopes[name].cancel()
    assert crowd.went == []
    assert not line.waiting


async def test_a_sleep_that_moves_no_clock_ends_the_wait_all_the_same() -> None:
    """A test may replace only `sleep`: a waiter does not wait for the clock to move."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        slept.append(seconds)

    line = WaitingLine(TokenBucket(rate=2), Clock(), sleep)
    for _ in range(4):
        assert await line.take(math.inf) is None
    assert slept == pytest.approx([0.5, 1.0, 1.5])


@pytest.mark.parametrize("now", [0.0, 1e5, 1.7e9])
@pytest.mark.parametrize("rate", [3.0, 1e9])
async def test_no_clock_is_too_coarse(now: float, rate: float) -> None:
    """A wait ends even if it is too short for the precision of the clock's readings."""
    clock = Clock(now)
    line = WaitingLine(TokenBucket(rate), clock, clock.sleep)
    for _ in range(50):
        assert await line.take(math.inf) is None
    assert len(clock.sleeps) < 100


async def test_a_sleep_that_ends_early_is_believed() -> None:
    """Timers may fire nanoseconds early; the waiter goes although the clock is behind."""
    time = Clock()

    async def sleep(seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        time.sleeps.append(seconds)
        time.advance(seconds * (1 - 1e-9))

    line = WaitingLine(TokenBucket(rate=1), time, sleep)
    for _ in range(3):
        await line.take(math.inf)
    assert time.sleeps == pytest.approx([1, 1])


async def test_a_line_is_idle_when_a_new_one_would_be_no_different() -> None:
    """It is idle when no caller waits, no token is missing and no hold-back is left."""
    time = VirtualTime()
    line = a_line(time)
    assert line.idle
    line.bucket.take(time())
    assert not line.idle
    time.now += 1.0
    assert line.idle
    line.hold_back(1.0)
    assert not line.idle
    async with anyio.create_task_group() as group:
        group.start_soon(line.take, math.inf)
        await settle()
        time.now += 100.0
        assert not line.idle
        await time.advance(0)


class Stopped:
    """An asyncio event loop that was stopped while two callers stood in line."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)  # it complains of what is abandoned
        self.time = Clock()
        self.line = self.loop.run_until_complete(self._make())
        self.calls = [self.line.take(patience=5.0) for _ in range(2)]
        self.tasks = [self.loop.create_task(call) for call in self.calls]
        self.loop.run_until_complete(asyncio.sleep(0.01))
        assert len(self.line.waiting) == 2

    async def _make(self) -> WaitingLine:
        line = WaitingLine(TokenBucket(1.0), self.time, self._sleep)
        assert await line.take(0.0) is None
        return line

    async def _sleep(self, _: float) -> None:
        await anyio.sleep_forever()


def test_a_line_of_a_stopped_loop_is_in_use_until_it_is_closed() -> None:
    """Callers in a stopped event loop may continue; those in a closed one never will."""
    stopped = Stopped()
    stopped.time.advance(100.0)
    assert not stopped.line.idle
    stopped.loop.close()
    assert stopped.line.idle


def test_callers_of_another_loop_are_held_back_but_not_sent_away() -> None:
    """They cannot be woken from here, and find out by themselves when their turn comes."""
    stopped = Stopped()
    assert stopped.line.hold_back(30.0) == 30.0
    assert len(stopped.line.waiting) == 2
    stopped.time.advance(1.0)
    assert not stopped.line.bucket.take(stopped.time())
    stopped.loop.close()


def test_a_task_that_its_loop_left_behind_wakes_no_other() -> None:
    """When it is garbage-collected, no waiter is left to wake."""
    stopped = Stopped()
    stopped.loop.close()
    with contextlib.suppress(RuntimeError):  # anyio's scopes can be left in their task alone
        stopped.calls[0].close()
    assert not stopped.line.waiting


def test_another_loop_gets_the_bucket_without_the_callers() -> None:
    """The tokens that were taken are missing there as well."""
    stopped = Stopped()
    renewed = stopped.line.renewed()
    assert renewed.bucket is stopped.line.bucket
    assert not renewed.waiting
    assert renewed.loop is None
    stopped.loop.close()


class Op(NamedTuple):
    """Something that happens `after` a number of quarters of a second."""

    after: int
    what: str
    figure: int


OPS = st.lists(
    st.builds(
        Op,
        st.integers(0, 6),
        st.sampled_from(["join", "join", "join", "cancel", "hold"]),
        st.integers(0, 12),
    ),
    max_size=30,
)


def model(ops: list[Op], burst: int) -> list[tuple[str, float]]:
    """Which waiter goes when, computed quarter by quarter from single tokens."""
    queue: deque[str] = deque()
    went: list[tuple[str, float]] = []
    joined, held, quarters_of_tokens, quarter = 0, 0, burst * 4, 0

    def let_go() -> None:
        nonlocal quarters_of_tokens
        while queue and quarters_of_tokens >= 4 and quarter >= held:
            quarters_of_tokens -= 4
            went.append((queue.popleft(), quarter / 4))

    for op in [*ops, Op(4 * 60, "end", 0)]:
        for _ in range(op.after):
            quarter += 1
            quarters_of_tokens = min(quarters_of_tokens + 1, burst * 4)
            let_go()
        if op.what == "join":
            queue.append(str(joined))
            joined += 1
        elif op.what == "cancel" and queue:
            del queue[op.figure % len(queue)]
        elif op.what == "hold":
            held = max(held, quarter + op.figure)
        let_go()
    return went


async def line_doing(ops: list[Op], burst: int) -> list[tuple[str, float]]:
    """The same, with a real line and tasks."""
    time = VirtualTime()
    line = a_line(time, burst=burst)
    async with a_crowd(line, time) as crowd:
        joined, queue = 0, list[str]()
        for op in [*ops, Op(4 * 60, "end", 0)]:
            await time.advance(op.after / 4)
            gone = {name for name, _ in crowd.went}
            queue = [name for name in queue if name not in gone]
            if op.what == "join":
                await crowd.join(str(joined))
                queue.append(str(joined))
                joined += 1
            elif op.what == "cancel" and queue:
                crowd.scopes[queue.pop(op.figure % len(queue))].cancel()
            elif op.what == "hold":
                line.hold_back(op.figure / 4)
            await settle()
    assert not line.waiting
    assert not time.sleepers
    return crowd.went


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@settings(max_examples=40)
@given(ops=OPS, burst=st.integers(1, 3))
def test_a_line_does_what_a_naive_one_does(anyio_backend: str, ops: list[Op], burst: int) -> None:
    """Arrivals, cancellations and hold-backs in any order: the same ones go, at the same times."""
    got: Any = anyio.run(line_doing, ops, burst, backend=anyio_backend)
    assert got == [(name, pytest.approx(moment)) for name, moment in model(ops, burst)]
