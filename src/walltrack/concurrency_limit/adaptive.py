"""How many requests at once a server works off, found out from how long it takes to answer."""

import math
from typing import Final

from walltrack.core import validation

OVERLOAD_STATUSES: Final = frozenset({429, 503, 504})
"""Statuses that say "too much at once", and so make an adaptive limit smaller."""

_FEWEST: Final = 10  # requests in a window: fewer tell of themselves, not of the server
_TOLERATED: Final = 0.15  # of the requests in a window may be dropped, whatever the limit is
_AFTER_DROPS: Final = 0.8  # of the limit is left by a window in which more were dropped
_FINEST: Final = 0.001  # seconds; a shorter latency says more of the clock than of the server
_STEEPEST: Final = 0.5  # of it is left by a window, however slow the answers were
_OF_A_PROBE: Final = 4  # for a moment only one request in so many goes out


class AdaptiveLimit:
    """A limit on concurrency that grows and shrinks with what the server can bear.

    Requests that a server cannot work off at once wait in it, and its answers come later. So once
    in a window the limit becomes `limit · gradient + √limit`: the gradient is the latency of the
    server when it is not busy, times `tolerance`, over its latency now, and no more than 1. It
    settles where about `√limit` requests wait in the server, so that it is never without work.

    1. A limit that is not even half used does not grow: nothing is known of more.
    2. A window in which more than 15 % of the requests were dropped (no answer, or one that says
       "too much") takes a fifth of the limit. A smaller share says nothing: servers that are not
       overloaded fail now and then, and one bad backend of ten drops a tenth at any limit.
    3. Only requests that began within the window count, so that each limit is judged by its own.
    4. The latency without load is the lowest of late. When it has not been seen again for `memory`
       seconds, it may have changed: only a quarter of the requests goes out for one window, in
       which it is measured anew. So does the very first window.

    After Netflix's concurrency-limits, of which the gradient, the square root and rule 1 come, and
    Envoy's adaptive concurrency filter, of which the first part of rule 4 does. Rule 2 is
    multiplicative decrease with a tolerance, as BBR has one for lost packets (`LossThresh` in
    draft-ietf-ccwg-bbr).

    Args:
        initial: The limit to start from.
        minimum: The limit never is below; at least 1.
        maximum: It never is above. Default: as many connections as httpx opens by default.
        tolerance: How many times the latency without load is still no sign of a queue; at least 1.
            More for a server whose latency varies much by itself.
        window: How many seconds the limit stands at least before it is judged.
        memory: For how many seconds the latency without load is taken to hold.

    Raises:
        TypeError: A number is not a number, or not a whole one.
        ValueError: A number is too small, infinite or NaN, or `initial` is not within the bounds.
    """

    def __init__(
        self,
        initial: int = 20,
        *,
        minimum: int = 1,
        maximum: int = 100,
        tolerance: float = 1.25,
        window: float = 0.1,
        memory: float = 30.0,
    ) -> None:
        validation.integer("minimum", minimum, minimum=1)
        validation.integer("initial", initial, minimum=minimum)
        validation.integer("maximum", maximum, minimum=initial)
        validation.number("tolerance", tolerance, minimum=1.0)
        validation.positive("window", window)
        validation.positive("memory", memory)
        self._initial = initial
        self._minimum = minimum
        self._maximum = maximum
        self._tolerance = tolerance
        self._window = window
        self._memory = memory

        self._estimate = float(initial)
        self._unloaded = math.inf  # the latency without load
        self._measured = -math.inf  # when that was seen
        self._probing = True
        self._peak = 0  # the most under way in this window
        self._answers = self._drops = 0
        self._begin_window(-math.inf)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._initial}, minimum={self._minimum}, "
            f"maximum={self._maximum}, limit={self._limit})"
        )

    @property
    def limit(self) -> int:
        """How many requests may be under way."""
        return self._limit

    def anew(self) -> "AdaptiveLimit":
        """One with the same settings that has measured nothing yet."""
        return AdaptiveLimit(
            self._initial,
            minimum=self._minimum,
            maximum=self._maximum,
            tolerance=self._tolerance,
            window=self._window,
            memory=self._memory,
        )

    def note(self, began: float, ended: float, under_way: int, *, dropped: bool = False) -> bool:
        """Take note of a request that was answered, or dropped.

        Args:
            began: When it was sent, in seconds on a monotonic clock.
            ended: When its headers came, or its failure.
            under_way: How many requests were under way at that moment, this one included.
            dropped: Whether it was: no answer came, or one that says "too much".

        Returns:
            Whether this ended a window, so that the limit may be another one.
        """
        if began < self._began:
            return False
        if dropped:
            self._drops += 1
        else:
            self._answers += 1
            self._seconds += ended - began
        if under_way > self._peak:  # noqa: PLR1730 - every request passes here
            self._peak = under_way
        if ended < self._ends or self._answers + self._drops < _FEWEST:
            return False
        self._judge(ended)
        return True

    def _judge(self, now: float) -> None:
        quiet = self._probing or self._peak * 2 <= self._estimate
        known = self._answers * 2 >= _FEWEST
        latency = self._seconds / self._answers if known else math.inf
        if latency < self._unloaded or (known and quiet and self._is_old(now)):
            self._unloaded = latency
            self._measured = now
        if self._drops > _TOLERATED * (self._answers + self._drops):
            self._estimate *= _AFTER_DROPS
        elif not self._probing:
            self._follow(latency, quiet=quiet)
        self._estimate = min(max(self._estimate, self._minimum), self._maximum)
        self._probing = self._is_old(now) and not (quiet and known)
        self._begin_window(now)

    def _follow(self, latency: float, *, quiet: bool) -> None:
        borne = max(self._unloaded, _FINEST) * self._tolerance
        gradient = 1.0 if latency <= borne else max(borne / latency, _STEEPEST)
        estimate = self._estimate * gradient + math.sqrt(self._estimate)
        if not quiet or estimate < self._estimate:
            self._estimate = estimate

    def _is_old(self, now: float) -> bool:
        return now - self._measured > self._memory

    def _begin_window(self, now: float) -> None:
        limit = int(self._estimate)
        self._limit = max(limit // _OF_A_PROBE, self._minimum) if self._probing else limit
        self._began, self._ends = now, now + self._window
        self._seconds = 0.0
        self._answers = self._drops = self._peak = 0
