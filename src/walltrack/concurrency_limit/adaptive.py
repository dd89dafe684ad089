"""An adaptive limit: how many concurrent requests a server can handle, judged by its latency."""

import math
from typing import Final

from walltrack.core import validation

OVERLOAD_STATUSES: Final = frozenset({429, 503, 504})
"""Statuses by which a server reports overload; they lower an adaptive limit."""

_FEWEST: Final = 10  # requests that a window needs; fewer are not representative
_TOLERATED: Final = 0.15  # share of dropped requests in a window that does not lower the limit
_AFTER_DROPS: Final = 0.8  # share of the limit that remains after more were dropped
_FINEST: Final = 0.001  # seconds; shorter latencies depend more on the clock than on the server
_STEEPEST: Final = 0.5  # share of the limit that remains at least, however slow the responses were
_OF_A_PROBE: Final = 4  # divisor of the limit while the latency without load is measured


class AdaptiveLimit:
    """A concurrency limit that adapts to what the server can handle.

    Requests that a server cannot handle at once wait in its queue, and its responses come later. So
    at the end of each window the limit becomes `limit · gradient + √limit`. The gradient is the
    latency without load, times `tolerance`, divided by the current latency; at most 1. The limit
    converges where about `√limit` requests wait at the server, so that it always has work.

    1. A limit that is less than half used does not grow: there is no evidence that more would do.
    2. If more than 15 % of the requests in a window were dropped (no response, or one that reports
       overload), the limit shrinks by a fifth. A smaller share has no effect: servers that are not
       overloaded fail occasionally, and one bad backend of ten drops a tenth at any limit.
    3. Only requests that began within the window count, so that each limit is judged by its own
       requests.
    4. The latency without load is the lowest recent latency. If it was not reached again for
       `memory` seconds, it may have changed: for one window only a quarter of the limit is used,
       to measure it again. The first window does the same.

    The gradient, the square root and rule 1 follow Netflix's concurrency-limits; the first part of
    rule 4 follows Envoy's adaptive concurrency filter. Rule 2 is multiplicative decrease with a
    tolerance, like that of BBR for lost packets (`LossThresh` in draft-ietf-ccwg-bbr).

    Args:
        initial: The limit at the start.
        minimum: Lowest limit; at least 1.
        maximum: Highest limit. Default: as many connections as httpx opens by default.
        tolerance: Up to how many times the latency without load is no sign of a queue; at least 1.
            Use more for a server whose latency varies much.
        window: Shortest time between two changes of the limit, in seconds.
        memory: How long a measured latency without load is valid, in seconds.

    Raises:
        TypeError: A number has another type.
        ValueError: A number is too small, infinite or NaN, or `initial` is out of bounds.
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
        self._measured = -math.inf  # when it was last reached
        self._probing = True
        self._peak = 0  # the most requests in flight in this window
        self._answers = self._drops = 0
        self._begin_window(-math.inf)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._initial}, minimum={self._minimum}, "
            f"maximum={self._maximum}, limit={self._limit})"
        )

    @property
    def limit(self) -> int:
        """How many requests may be in flight."""
        return self._limit

    def fresh(self) -> "AdaptiveLimit":
        """Return a limit with the same settings and no measurements."""
        return AdaptiveLimit(
            self._initial,
            minimum=self._minimum,
            maximum=self._maximum,
            tolerance=self._tolerance,
            window=self._window,
            memory=self._memory,
        )

    def note(self, began: float, ended: float, in_flight: int, *, dropped: bool = False) -> bool:
        """Record a request that has ended.

        Args:
            began: When it was sent, in seconds on a monotonic clock.
            ended: When its headers came or it failed, in seconds on the same clock.
            in_flight: How many requests were in flight at that moment, including this one.
            dropped: Whether there was no response, or one that reports overload.

        Returns:
            Whether this ended a window, so that the limit may have changed.
        """
        if began < self._began:
            return False
        if dropped:
            self._drops += 1
        else:
            self._answers += 1
            self._seconds += ended - began
        if in_flight > self._peak:  # noqa: PLR1730 - runs for every request, and max() is slower
            self._peak = in_flight
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
