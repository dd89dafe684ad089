"""How many requests may go, and when: a bucket of tokens that can be shut for a while."""

import math
from typing import Final

from walltrack.core import validation

_NEWS: Final = 1.0  # seconds; headers count in whole ones, so that less is the same moment again
_ROUNDING: Final = 1e-6  # of a token; so much may be lost in adding up


class TokenBucket:
    """Holds tokens, each of which lets one request go; they come back at a steady rate.

    In any stretch of time at most `burst + rate * seconds / per` requests go. A token that was
    taken is not given back, whatever becomes of its request.

    Every method is told the time, in seconds by a clock that does not go back.

    Args:
        rate: How many tokens come back in `per` seconds; None: there are always enough.
        per: Seconds in which they do.
        burst: How many it holds, and so how many requests may go at once; it starts full.

    Raises:
        TypeError: A number is not a number, or `burst` no whole one.
        ValueError: `rate` or `per` is not above 0, or not finite, or `burst` is below 1.
    """

    __slots__ = ("_at", "_burst", "_held_until", "_interval", "_level", "_rate", "_told_until")

    def __init__(self, rate: float | None, per: float = 1.0, burst: int = 1) -> None:
        validation.positive("per", per)
        validation.integer("burst", burst, minimum=1)
        validation.number("burst", burst)  # one that a float can count
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
        """Take a token; False, and nothing is taken, when there is none or the bucket is shut."""
        level = self._level + (now - self._at) * self._rate  # as in _level_at, without its frame
        if level > self._burst:  # noqa: PLR1730 - every request asks, and min() takes longer
            level = self._burst
        if level < 1.0 - _ROUNDING or now < self._held_until:
            return False
        self._level = level - 1.0
        self._at = now
        return True

    def opens_in(self, now: float, ahead: int = 0) -> float:
        """Seconds until there is a token, once `ahead` others have taken theirs before.

        Args:
            now: The time.
            ahead: How many others each take one as soon as they can.
        """
        begin = max(now, self._held_until)
        missing = 1 + ahead - self._level_at(begin)
        return begin - now + (missing * self._interval if missing > 0.0 else 0.0)

    def is_full(self, now: float) -> bool:
        """Whether a new bucket would be no different: full, and not shut."""
        full = self._level_at(now) >= self._burst - _ROUNDING
        return full and now >= self._held_until

    def hold_back(self, now: float, seconds: float) -> float:
        """Shut the bucket; one that is shut for longer already stays so.

        Args:
            now: The time.
            seconds: For how long; nothing happens unless that is above 0.

        Returns:
            For how many seconds it is shut, when that is news: it was not shut, or a second or more
            is added. 0.0 when it is none, as when a hundred answers tell of the same moment.
        """
        if not seconds > 0.0:  # nor when it is NaN
            return 0.0
        until = now + seconds
        news = now >= self._held_until or until >= self._told_until + _NEWS
        if news:
            self._told_until = until
        self._held_until = max(self._held_until, until)
        return seconds if news else 0.0

    def _level_at(self, now: float) -> float:
        return min(self._level + (now - self._at) * self._rate, self._burst)
