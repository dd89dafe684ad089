"""Rates of failures and of slow calls, among the last calls or in the last seconds."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from walltrack.core import validation

_FAILED: Final = 1
_SLOW: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The rates at which a circuit breaker opens: the common options of both windows."""

    failure_rate: float = 0.5
    minimum_calls: int = 10
    slow_call_seconds: float | None = None
    slow_call_rate: float = 1.0

    def __post_init__(self) -> None:
        validation.share("failure_rate", self.failure_rate)
        validation.integer("minimum_calls", self.minimum_calls, minimum=1)
        if self.slow_call_seconds is not None:
            validation.positive("slow_call_seconds", self.slow_call_seconds)
        validation.share("slow_call_rate", self.slow_call_rate)

    @property
    def thresholds(self) -> str:
        """The rates in words."""
        slow = f" or {self.slow_call_rate * 100:g} % slow"
        return (
            f"opens at {self.failure_rate * 100:g} % failures"
            f"{'' if self.slow_call_seconds is None else slow}"
            f" of at least {self.minimum_calls} calls"
        )

    def exceeded(self, calls: int, failures: int, slow: int) -> bool:
        """Return whether the breaker has to open at these counts."""
        # Divided, not multiplied: 3 of 30 are 0.1, but 0.1 * 30 is above 3.
        return calls >= self.minimum_calls and (
            failures / calls >= self.failure_rate or slow / calls >= self.slow_call_rate
        )


@dataclass(frozen=True, slots=True)
class CountWindow(Limits):
    """Open a circuit breaker by the rates among its last calls.

    Args:
        size: How many calls count; at least 1, and at least `minimum_calls`. Default: 100.
        failure_rate: Open when at least this share of the calls failed; above 0, at most 1.
            Default: 0.5.
        minimum_calls: Do not open while there are fewer calls than this; at least 1. Default: 10.
        slow_call_seconds: A call is slow if its headers (or its end, if there are no headers) take
            longer than this, in seconds, whether it fails or not; None: no call is slow.
        slow_call_rate: Open when at least this share of the calls was slow; above 0, at most 1.
            Default: 1.

    Raises:
        TypeError: A number has another type.
        ValueError: A number is too small or too large, infinite or NaN.
    """

    size: int = 100

    def __post_init__(self) -> None:
        Limits.__post_init__(self)
        validation.integer("size", self.size, minimum=1)
        if self.minimum_calls > self.size:
            raise ValueError(
                f"minimum_calls must be at most size ({self.size}), got {self.minimum_calls}"
            )

    def tally(self, _clock: Callable[[], float]) -> "Tally":
        """Return an empty tally for this window."""
        return CountTally(self)


@dataclass(frozen=True, slots=True)
class TimeWindow(Limits):
    """Open a circuit breaker by the rates among the calls of the last seconds.

    Old calls are removed one bucket at a time. So the window covers at most `seconds`, and at least
    `seconds` minus the length of one bucket.

    Args:
        seconds: Length of the window, in seconds; above 0. Default: 60.
        buckets: Number of buckets; at least 1. More buckets are more precise, and use more memory.
            Default: 10.
        failure_rate: Open when at least this share of the calls failed; above 0, at most 1.
            Default: 0.5.
        minimum_calls: Do not open while there are fewer calls than this; at least 1. Default: 10.
        slow_call_seconds: A call is slow if its headers (or its end, if there are no headers) take
            longer than this, in seconds, whether it fails or not; None: no call is slow.
        slow_call_rate: Open when at least this share of the calls was slow; above 0, at most 1.
            Default: 1.

    Raises:
        TypeError: A number has another type.
        ValueError: A number is too small or too large, infinite or NaN.
    """

    seconds: float = 60.0
    buckets: int = 10

    def __post_init__(self) -> None:
        Limits.__post_init__(self)
        validation.positive("seconds", self.seconds)
        validation.integer("buckets", self.buckets, minimum=1)

    def tally(self, clock: Callable[[], float]) -> "Tally":
        """Return an empty tally for this window, measured by `clock`."""
        return TimeTally(self, clock)


class Tally(ABC):
    """Count the calls in a window.

    Args:
        limits: The rates at which the breaker opens.
    """

    __slots__ = ("_limits", "bad", "calls", "failures", "slow")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.calls: int = 0
        self.failures: int = 0
        self.slow: int = 0
        self.bad: int = 0  # failed or slow or both

    def __repr__(self) -> str:
        return f"failures {self.failures} and slow {self.slow} of {self.calls} calls"

    @property
    def thresholds(self) -> str:
        """The rates from which on a breaker opens, in words."""
        return self._limits.thresholds

    @abstractmethod
    def record(self, *, failed: bool, slow: bool) -> bool:
        """Count one call, and return whether the breaker has to open."""

    @abstractmethod
    def refresh(self) -> None:
        """Remove the calls that are too old by now."""

    def clear(self) -> None:
        """Remove all calls."""
        self.calls = self.failures = self.slow = self.bad = 0

    def _add(self, calls: int, failures: int, slow: int, bad: int) -> None:
        self.calls += calls
        self.failures += failures
        self.slow += slow
        self.bad += bad

    def _is_too_much(self) -> bool:
        return self._limits.exceeded(self.calls, self.failures, self.slow)


class CountTally(Tally):
    """Count the last calls, in a ring buffer: each call replaces the oldest one."""

    __slots__ = ("_next", "_ring")

    def __init__(self, window: CountWindow) -> None:
        super().__init__(window)
        self._ring = bytearray(window.size)
        self._next = 0

    def record(self, *, failed: bool, slow: bool) -> bool:
        """Count one call, and return whether the breaker has to open."""
        ring, place = self._ring, self._next
        if self.calls < len(ring):
            self._add(1, 0, 0, 0)
        elif ring[place]:
            self._remove(ring[place])
        self._next = place + 1 if place + 1 < len(ring) else 0
        ring[place] = 0
        if failed or slow:
            ring[place] = failed * _FAILED | slow * _SLOW
            self._add(0, failed, slow, 1)
        return self.bad > 0 and self._is_too_much()

    def refresh(self) -> None:
        """Do nothing: calls leave this window only when new ones come."""

    def _remove(self, kind: int) -> None:
        self._add(0, -(kind & _FAILED), -(kind // _SLOW), -1)


class TimeTally(Tally):
    """Count the calls of the last seconds, in buckets that are emptied one after the other."""

    __slots__ = ("_buckets", "_clock", "_now", "_width")

    def __init__(self, window: TimeWindow, clock: Callable[[], float]) -> None:
        super().__init__(window)
        self._clock = clock
        self._width = window.seconds / window.buckets
        self._buckets = [[0, 0, 0, 0] for _ in range(window.buckets)]
        self._now = math.floor(clock() / self._width)  # number of the bucket that is being filled

    def record(self, *, failed: bool, slow: bool) -> bool:
        """Count one call, and return whether the breaker has to open."""
        self.refresh()
        bucket = self._buckets[self._now % len(self._buckets)]
        bucket[0] += 1
        if failed or slow:
            bucket[1] += failed
            bucket[2] += slow
            bucket[3] += 1
        self._add(1, failed, slow, failed or slow)
        return self.bad > 0 and self._is_too_much()

    def refresh(self) -> None:
        """Empty the buckets that are too old by now."""
        now, last = math.floor(self._clock() / self._width), self._now
        if now <= last:
            return
        self._now = now
        for number in range(max(last + 1, now - len(self._buckets) + 1), now + 1):
            self._empty(self._buckets[number % len(self._buckets)])

    def clear(self) -> None:
        """Remove all calls."""
        for bucket in self._buckets:
            self._empty(bucket)

    def _empty(self, bucket: list[int]) -> None:
        self._add(-bucket[0], -bucket[1], -bucket[2], -bucket[3])
        bucket[:] = 0, 0, 0, 0
