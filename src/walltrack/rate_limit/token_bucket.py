"""A token bucket, which decides when requests may be sent, and can be closed for some time."""

import math
from typing import Final

from walltrack.core import validation

_NEWS: Final = 1.0  # seconds; headers have whole seconds, so a smaller change is no change
_ROUNDING: Final = 1e-6  # of a token; additions can lose this much


class TokenBucket:
    """A bucket of tokens: each request takes one, and they are refilled at a constant rate.

    In any period, at most `burst + rate * seconds / per` requests are sent. A token that was taken
    is never given back, whatever happens to its request.

    Every method takes the current time, in seconds of a monotonic clock.

    Args:
        rate: How many tokens are added in `per` seconds; None: there are always enough.
        per: The period of `rate`, in seconds.
        burst: How many tokens the bucket holds, and so how many requests can be sent at once; it
            starts full.

    Raises:
        TypeError: A number has another type.
        ValueError: `rate` or `per` is not above 0, or not finite, or `burst` is below 1.
    """

    __slots__ = ("_at", "_burst", "_held_until", "_interval", "_level", "_rate", "_told_until")

    def __init__(self, rate: float | None, per: float = 1.0, burst: int = 1) -> None:
        validation.positive("per", per)
        validation.integer("burst", burst, minimum=1)
        validation.number("burst", burst)  # a float must represent it exactly
        self._burst = self._level = math.inf
        self._rate = self._interval = self._at = 0.0
        if rate is not None:
            validation.positive("rate", rate)
            validation.positive("rate / per", rate / per)
            validation.positive("burst * per / rate", burst * (per / rate))
            self._burst = self._level = float(burst)
            self._rate, self._interval, self._at = rate / per, per / rate, -math.inf
        self._held_until = self._told_until = -math.inf

    def take(self, now: float) -> bool:
        """Take a token; return False and take nothing if there is none or the bucket is closed."""
        level = self._level + (now - self._at) * self._rate  # as _level_at, but without a call
        if level > self._burst:  # noqa: PLR1730 - runs for every request, and min() is slower
            level = self._burst
        if level < 1.0 - _ROUNDING or now < self._held_until:
            return False
        self._level = level - 1.0
        self._at = now
        return True

    def opens_in(self, now: float, ahead: int = 0) -> float:
        """Return the seconds until a caller can take a token, if `ahead` others take theirs first.

        Args:
            now: The current time.
            ahead: How many others each take a token first, as soon as possible.
        """
        begin = max(now, self._held_until)
        missing = 1 + ahead - self._level_at(begin)
        return begin - now + (missing * self._interval if missing > 0.0 else 0.0)

    def held_for(self, now: float) -> float:
        """Return for how many seconds from now it is closed; 0.0 if it is not."""
        return max(self._held_until - now, 0.0)

    def is_full(self, now: float) -> bool:
        """Return whether the bucket is like a new one: full, and not closed."""
        full = self._level_at(now) >= self._burst - _ROUNDING
        return full and now >= self._held_until

    def hold_back(self, now: float, seconds: float) -> float:
        """Close the bucket for `seconds`, unless it is already closed for longer.

        Args:
            now: The current time.
            seconds: How long to close it, in seconds; nothing happens unless this is above 0.

        Returns:
            For how many seconds it is closed, if this is worth reporting: it was not closed, or the
            time grows by a second or more. Otherwise 0.0, as when many responses name the same
            time.
        """
        if not seconds > 0.0:  # also if it is NaN
            return 0.0
        until = now + seconds
        news = now >= self._held_until or until >= self._told_until + _NEWS
        if news:
            self._told_until = until
        self._held_until = max(self._held_until, until)
        return seconds if news else 0.0

    def _level_at(self, now: float) -> float:
        return min(self._level + (now - self._at) * self._rate, self._burst)
