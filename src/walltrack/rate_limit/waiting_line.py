"""The queue of callers that wait for a token, in the order of their arrival.

Awaits: each caller waits here for its token.
"""

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final

import anyio

from walltrack.core import waiting
from walltrack.core.loops import is_needed, is_over, running
from walltrack.core.naming import shown_key
from walltrack.rate_limit.token_bucket import TokenBucket

_SHORTEST: Final = 1e-6
"""Seconds: no timer is more precise, and adding less may not change the time of a clock."""


class Waiter:
    """A caller in the queue.

    Args:
        latest: The latest time at which the caller accepts a token.
        wake: Wakes the caller, to look at the state again.

    `late` is None until the caller is rejected; then it has the seconds after which there would
    have been a token.
    """

    __slots__ = ("late", "latest", "wake")

    def __init__(self, latest: float, wake: Callable[[], None]) -> None:
        self.latest: float = latest
        self.wake: Callable[[], None] = wake
        self.late: float | None = None


class WaitingLine:
    """A token bucket, and the queue of callers that wait for its tokens.

    Only the first waiter sleeps until there is a token. It takes the token, leaves the queue and
    wakes the next one. A waiter that is cancelled has taken no token, so none is lost.

    Args:
        bucket: The token bucket.
        clock: Monotonic seconds.
        sleep: Waits for the given number of seconds.
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
        self.waiting: OrderedDict[Waiter, None] = OrderedDict()  # any of them can leave quickly
        self._clock = clock
        self._sleep = sleep

    @property
    def in_use(self) -> bool:
        """Whether any caller waits."""
        return bool(self.waiting)

    @property
    def idle(self) -> bool:
        """Whether this is like a new one; callers of a closed event loop do not count."""
        return not is_needed(self) and self.bucket.is_full(self._clock())

    def describe(self, key: Hashable) -> dict[str, Any] | None:
        """Return the state, as JSON has it; None if no request waits and the server asked for none.

        `opens_in` is the seconds that another request would wait, `held_for` those of them for
        which the server asked.
        """
        now = self._clock()
        held_for = self.bucket.held_for(now)
        if not (self.waiting or held_for):
            return None
        return {
            "key": shown_key(key),
            "waiting": len(self.waiting),
            "opens_in": self.bucket.opens_in(now, ahead=len(self.waiting)),
            "held_for": held_for,
        }

    def renewed(self) -> "WaitingLine":
        """Return an empty queue for the same bucket, for the event loop that is running."""
        return WaitingLine(self.bucket, self._clock, self._sleep)

    async def take(self, patience: float) -> float | None:
        """Wait at the end of the queue for a token, and take it.

        Args:
            patience: The longest wait, in seconds. If the wait would be longer, give up at once: at
                the start, or when the bucket is closed in the meantime.

        Returns:
            None if a token was taken; else the seconds until there would be one.
        """
        now = self._clock()
        room = self.bucket.opens_in(now, ahead=len(self.waiting))
        latest = now + patience + _SHORTEST  # rounding errors
        if now + room > latest:
            return room
        turn = anyio.Event()
        waiter = Waiter(latest, turn.set)
        self.waiting[waiter] = None
        try:
            if self._first() is not waiter:
                await turn.wait()
            return await self._take_first(waiter)
        finally:
            if waiter.late is None:
                self._leave(waiter)

    def hold_back(self, seconds: float) -> float:
        """Close the bucket, and reject the waiters that cannot wait so long.

        Waiters in another event loop cannot be woken from here; they notice it at their turn.

        Args:
            seconds: How long to close it, in seconds.

        Returns:
            As `TokenBucket.hold_back`: for how many seconds it is closed, if worth reporting.
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

    def _first(self) -> Waiter:
        return next(iter(self.waiting))

    def _leave(self, waiter: Waiter) -> None:
        if is_over(self.loop):  # its tasks cannot be woken any more
            self.waiting.clear()
            return
        was_first = self._first() is waiter
        del self.waiting[waiter]
        if was_first and self.waiting:
            self._first().wake()

    async def _take_first(self, waiter: Waiter) -> float | None:
        await self._refill(waiter)
        now = self._clock()
        while waiter.late is None:
            if anyio.current_effective_deadline() == -math.inf:
                # It was cancelled just as its turn came: raise here, before it takes a token.
                await waiting.sleep(0.0)
            if self.bucket.take(now):
                return None
            room = self.bucket.opens_in(now)
            if now + room > waiter.latest:
                return room
            now = await self._sleep_from(now, max(room, _SHORTEST), waiter)
            await self._refill(waiter)
        return waiter.late

    async def _refill(self, waiter: Waiter) -> None:
        """Get tokens for the waiters, if the bucket does not get them by itself."""

    async def _sleep_from(self, now: float, seconds: float, waiter: Waiter) -> float:
        with anyio.CancelScope() as scope:
            waiter.wake = scope.cancel
            await self._sleep(seconds)
            # A replaced `sleep` may not move the clock, and timers can fire slightly early, so the
            # time is at least what it should be after the sleep.
            return max(self._clock(), now + seconds)
        return self._clock()
