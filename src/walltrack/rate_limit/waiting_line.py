"""Callers that wait for a token, in the order in which they came.

Awaits: each caller waits here for its turn.
"""

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from walltrack.core import waiting
from walltrack.core.loops import is_needed, is_over, running
from walltrack.rate_limit.token_bucket import TokenBucket

_SHORTEST: Final = 1e-6
"""Seconds: no timer is finer, and a clock that is moved by less may stand still."""


class _Waiter:
    """One who waits.

    Args:
        latest: The time after which there is no use in waiting.
        wake: Has the waiter look again how things stand.

    `late` tells, once it was sent away, in how many seconds its turn would have come.
    """

    __slots__ = ("late", "latest", "wake")

    def __init__(self, latest: float, wake: Callable[[], None]) -> None:
        self.latest = latest
        self.wake = wake
        self.late: float | None = None


class WaitingLine:
    """A bucket, and those who wait for its tokens.

    Only the first one sleeps, until there is a token; it takes it, leaves, and wakes the next. Who
    is cancelled has taken nothing, so that nothing is lost with it.

    Args:
        bucket: Where the tokens are.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
    """

    __slots__ = ("_clock", "_sleep", "bucket", "loop", "waiting")

    def __init__(
        self,
        bucket: TokenBucket,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.bucket: TokenBucket = bucket
        self.loop: object = running()
        self.waiting: OrderedDict[_Waiter, None] = OrderedDict()  # any of them may leave at once
        self._clock = clock
        self._sleep = sleep

    @property
    def in_use(self) -> bool:
        """Whether any caller waits."""
        return bool(self.waiting)

    @property
    def idle(self) -> bool:
        """Whether a new one would be no different; callers of a closed event loop do not count."""
        return not is_needed(self) and self.bucket.is_full(self._clock())

    def renewed(self) -> "WaitingLine":
        """Return a line before the same bucket, without callers, for the loop that is running."""
        return WaitingLine(self.bucket, self._clock, self._sleep)

    async def take(self, patience: float) -> float | None:
        """Wait for a token behind all who wait already, and take it.

        Args:
            patience: The longest wait, in seconds. A longer one is given up at once: at the
                beginning, or when the bucket is shut meanwhile.

        Returns:
            None when a token was taken; else in how many seconds there would be one.
        """
        now = self._clock()
        room = self.bucket.opens_in(now, ahead=len(self.waiting))
        latest = now + patience + _SHORTEST  # two sums of the same figures may differ by a little
        if now + room > latest:
            return room
        turn = anyio.Event()
        waiter = _Waiter(latest, turn.set)
        self.waiting[waiter] = None
        try:
            if self._first() is not waiter:
                await turn.wait()
            return await self._take_first(waiter)
        finally:
            if waiter.late is None:
                self._leave(waiter)

    def hold_back(self, seconds: float) -> float:
        """Shut the bucket, and send away the callers that cannot wait so long.

        Those of another event loop cannot be woken from here; they find out when their turn comes.

        Args:
            seconds: For how long.

        Returns:
            What `TokenBucket.hold_back` does: for how many seconds it is shut, when that is news.
        """
        now = self._clock()
        held = self.bucket.hold_back(now, seconds)
        if held and self.loop is running():
            ahead = 0
            for waiter in tuple(self.waiting):
                room = self.bucket.opens_in(now, ahead)
                if now + room > waiter.latest:
                    waiter.late = room
                    self._leave(waiter)
                    waiter.wake()
                else:
                    ahead += 1
        return held

    def _first(self) -> _Waiter:
        return next(iter(self.waiting))

    def _leave(self, waiter: _Waiter) -> None:
        if is_over(self.loop):  # its tasks are collected, and none of them can be woken
            self.waiting.clear()
            return
        was_first = self._first() is waiter
        del self.waiting[waiter]
        if was_first and self.waiting:
            self._first().wake()

    async def _take_first(self, waiter: _Waiter) -> float | None:
        now = self._clock()
        while waiter.late is None:
            if anyio.current_effective_deadline() == -math.inf:
                # Cancelled in the moment in which its turn came; it would notice after it went.
                await waiting.sleep(0.0)
            if self.bucket.take(now):
                return None
            room = self.bucket.opens_in(now)
            if now + room > waiter.latest:
                return room
            now = await self._sleep_from(now, max(room, _SHORTEST), waiter)
        return waiter.late

    async def _sleep_from(self, now: float, seconds: float, waiter: _Waiter) -> float:
        with anyio.CancelScope() as scope:
            waiter.wake = scope.cancel
            await self._sleep(seconds)
            # Whoever replaces `sleep` need not move the clock as well, and timers fire a little
            # early: it is as late as it was to become.
            return max(self._clock(), now + seconds)
        return self._clock()
