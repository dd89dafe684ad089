"""Virtual time, which passes only when all tasks wait."""

import math
from asyncio import AbstractEventLoop
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.lowlevel

from walltrack.core import loops, validation
from walltrack.testing.background_task import BackgroundTask
from walltrack.testing.timeline import Timeline
from walltrack.testing.virtual_scope import VirtualCancelScope

_START: Final = datetime(2030, 1, 1, tzinfo=UTC)
_TURNS: Final = 8  # of the event loop; a task rarely needs more between two waits
_LOOKS: Final = 3  # in consecutive turns, since a task can be woken one turn after another one ends
_PATIENCE: Final = 0.001  # real seconds; on asyncio, anyio itself looks again only after 0.1 s


class VirtualTime:
    """A virtual clock, with a sleep and a timer: hours pass in no real time, on asyncio and trio.

        async with VirtualTime() as time:
            script = ScriptedTransport([503, 503, 200])
            transport = RetryTransport(script, sleep=time.sleep, wall_clock=time.time)
            async with httpx.AsyncClient(transport=transport) as client:
                await client.get("https://api.example.com/")
            assert time.monotonic() == 1 + 2

    Inside `async with`, the time stands still while any task has something to do. When all tasks
    wait, it jumps to the earliest time at which a `sleep` or `move_on_after` ends. Those that end
    at the same time run one after the other, in the order in which they began. A fixture can hold
    the `async with`, even if it is entered in one task and left in another, as with pytest-asyncio
    and pytest-trio; it must use the same event loop as its test.

    Without `async with`, `advance` moves the time manually, and each `sleep` moves it as well: this
    is enough if at most one task sleeps.

    Pass its methods to everything that takes a clock: `clock=time.monotonic`,
    `wall_clock=time.time`, `sleep=time.sleep`, `timer=time.move_on_after`. Use it with mocks only:
    a task that waits for a socket, a thread or real seconds counts as waiting, so the virtual time
    would move on too early.

    Args:
        start: The date and time at the start. Default: 2030-01-01 in UTC.

    Raises:
        TypeError: `start` is not a datetime.
        ValueError: `start` has no time zone.
    """

    slept: list[float]
    """The argument of each call of `sleep`, in seconds."""

    def __init__(self, start: datetime = _START) -> None:
        validation.instance("start", start, datetime)
        if start.utcoffset() is None:
            raise ValueError(f"start must have a time zone, got {start!r}")
        self._epoch = start.timestamp()
        self._timeline = Timeline(self._wake_driver)
        self._sleepers: set[anyio.Event] = set()
        self._driver: BackgroundTask | None = None
        self._news: anyio.Event | None = None
        self.slept = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._timeline.now:g} s, {len(self._timeline)} waiting)"

    def monotonic(self) -> float:
        """Return the seconds since this virtual time began."""
        return self._timeline.now

    def time(self) -> float:
        """Return the seconds since the epoch, like `time.time` of the standard library."""
        return self._epoch + self._timeline.now

    def advance(self, seconds: float) -> None:
        """Move the time forward by `seconds`, and wake the tasks whose waits end by then.

        Raises:
            TypeError: `seconds` is not a number.
            ValueError: `seconds` is negative, infinite or NaN.
        """
        validation.number("seconds", seconds)
        self._timeline.advance_to(self._timeline.now + seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait until `seconds` have passed; zero or less only lets other tasks run.

        Raises:
            TypeError: `seconds` is not a number.
            ValueError: `seconds` is NaN.
            RuntimeError: The `async with` ended in the meantime, so that the time stands still; or
                it began in another event loop.
        """
        validation.number("seconds", seconds, minimum=-math.inf, finite=False)
        self._check_driver()
        self.slept.append(seconds)
        until = self._timeline.now + seconds
        if until == math.inf:
            await anyio.sleep_forever()
        if seconds > 0.0 and self._driver is not None:
            await self._sleep_until(until)
        else:
            await anyio.lowlevel.checkpoint()
            self._timeline.advance_to(until)

    def move_on_after(self, delay: float | None, shield: bool = False) -> anyio.CancelScope:  # noqa: FBT001, FBT002 - as anyio's
        """Return a scope that is cancelled when `delay` seconds have passed; None: never.

        Raises:
            TypeError: `delay` is not a number.
            ValueError: `delay` is NaN.
            RuntimeError: The `async with` began in another event loop.
        """
        self._check_driver()
        delay = math.inf if delay is None else delay
        validation.number("delay", delay, minimum=-math.inf, finite=False)
        return VirtualCancelScope(self._timeline, self._timeline.now + delay, shield=shield)

    async def __aenter__(self) -> Self:
        if self._driver is not None:
            raise RuntimeError("VirtualTime is in use: leave its `async with` before the next one")
        self._driver = BackgroundTask(self._drive, self._timeline.ring_all, "virtual time")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._driver is not None  # noqa: S101 - for the type checker: it was entered
        driver, self._driver = self._driver, None
        for sleeper in self._sleepers:
            sleeper.set()
        await driver.stop()
        _raise_failure_of(driver)
        if exc is None:
            await anyio.lowlevel.checkpoint()

    async def _sleep_until(self, until: float) -> None:
        woken = anyio.Event()
        timer = self._timeline.begin(until, woken.set)
        self._sleepers.add(woken)
        try:
            await woken.wait()
        finally:
            self._timeline.forget(timer)
            self._sleepers.discard(woken)
        if self._timeline.now < until:
            self._check_driver()
            raise RuntimeError(
                "VirtualTime ended while a task slept in it: let all tasks end inside `async with`"
            )

    def _check_driver(self) -> None:
        if self._driver is None:
            return
        _raise_failure_of(self._driver)
        if not self._driver.is_in_this_loop():
            raise RuntimeError(
                "VirtualTime was entered in another event loop: let its fixture and the test use "
                "the same one"
            )

    async def _drive(self) -> None:
        while True:
            if not self._timeline:
                self._news = anyio.Event()
                await self._news.wait()
            await _all_other_tasks_wait()
            if self._timeline:  # the waiter may have been cancelled in the meantime
                self._timeline.ring_next()

    def _wake_driver(self) -> None:
        if self._news is not None:
            self._news.set()


def _raise_failure_of(driver: BackgroundTask) -> None:
    if driver.failure is not None:
        raise RuntimeError("VirtualTime cannot move on") from driver.failure


async def _all_other_tasks_wait() -> None:
    # trio itself knows when all tasks wait. No limit in real time: its runs can be repeated.
    patience = _PATIENCE if isinstance(loops.running(), AbstractEventLoop) else None
    while True:
        for _ in range(_TURNS):
            await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(patience):
            for _ in range(_LOOKS):
                await anyio.wait_all_tasks_blocked()
            return
