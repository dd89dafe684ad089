"""Rates of failures and of slow calls, over the newest calls or over the newest seconds."""

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
    """Rates from which on a circuit breaker opens: what both windows have in common."""

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
        """Whether so many calls, failures and slow calls are enough to open."""
        # Divided, not multiplied: 3 of 30 are 0.1, but 0.1 * 30 is above 3.
        return calls >= self.minimum_calls and (
            failures / calls >= self.failure_rate or slow / calls >= self.slow_call_rate
        )


@dataclass(frozen=True, slots=True)
class CountWindow(Limits):
    """Looks back on the newest calls: a breaker opens by the rates among them.

    Args:
        size: How many calls; at least 1, and at least `minimum_calls`. Default: 100.
        failure_rate: It opens when at least this share of the calls failed; above 0, at most 1.
            Default: 0.5.
        minimum_calls: It does not open by fewer calls than these; at least 1. Default: 10.
        slow_call_seconds: A call that takes longer than this to its headers (or to its end, if it
            has none) is slow, whether it fails or not; None: no call is.
        slow_call_rate: It opens when at least this share of the calls was slow; above 0, at most 1.
            Default: 1.

    Raises:
        TypeError: A number is not a number.
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
        """A new and empty window."""
        return CountTally(self)


@dataclass(frozen=True, slots=True)
class TimeWindow(Limits):
    """Looks back on the newest seconds: a breaker opens by the rates among the calls in them.

    They are forgotten a bucket at a time, so that it looks back on `seconds` at the most, and on
    `seconds` less one bucket at the least.

    Args:
        seconds: How far it looks back, in seconds; above 0. Default: 60.
        buckets: In how many parts; at least 1. More of them are more exact, and take more memory.
            Default: 10.
        failure_rate: It opens when at least this share of the calls failed; above 0, at most 1.
            Default: 0.5.
        minimum_calls: It does not open by fewer calls than these; at least 1. Default: 10.
        slow_call_seconds: A call that takes longer than this to its headers (or to its end, if it
            has none) is slow, whether it fails or not; None: no call is.
        slow_call_rate: It opens when at least this share of the calls was slow; above 0, at most 1.
            Default: 1.

    Raises:
        TypeError: A number is not a number.
        ValueError: A number is too small or too large, infinite or NaN.
    """

    seconds: float = 60.0
    buckets: int = 10

    def __post_init__(self) -> None:
        Limits.__post_init__(self)
        validation.positive("seconds", self.seconds)
        validation.integer("buckets", self.buckets, minimum=1)

    def tally(self, clock: Callable[[], float]) -> "Tally":
        """A new and empty window, over the time of `clock`."""
        return TimeTally(self, clock)


class Tally(ABC):
    """What calls a window holds.

    Args:
        limits: When they are too bad.
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
        """Take in one call, and tell whether the breaker has to open."""

    @abstractmethod
    def refresh(self) -> None:
        """Forget what is too old by now."""

    def clear(self) -> None:
        """Forget everything."""
        self.calls = self.failures = self.slow = self.bad = 0

    def _add(self, calls: int, failures: int, slow: int, bad: int) -> None:
        self.calls += calls
        self.failures += failures
        self.slow += slow
        self.bad += bad

    def _is_too_much(self) -> bool:
        return self._limits.exceeded(self.calls, self.failures, self.slow)


class CountTally(Tally):
    """The newest calls, in a ring: each takes the place of the oldest."""

    __slots__ = ("_next", "_ring")

    def __init__(self, window: CountWindow) -> None:
        super().__init__(window)
        self._ring = bytearray(window.size)
        self._next = 0

    def record(self, *, failed: bool, slow: bool) -> bool:
        """Take in one call, and tell whether the breaker has to open."""
        ring, place = self._ring, self._next
        if self.calls < len(ring):
            self._add(1, 0, 0, 0)
        elif ring[place]:
            self._forget(ring[place])
        self._next = place + 1 if place + 1 < len(ring) else 0
        ring[place] = 0
        if failed or slow:
            ring[place] = failed * _FAILED | slow * _SLOW
            self._add(0, failed, slow, 1)
        return self.bad > 0 and self._is_too_much()

    def refresh(self) -> None:
        """Nothing grows old by time."""

    def _forget(self, kind: int) -> None:
        self._add(0, -(kind & _FAILED), -(kind // _SLOW), -1)


class TimeTally(Tally):
    """The newest seconds, in buckets that are emptied one after the other."""

    __slots__ = ("_buckets", "_clock", "_now", "_width")

    def __init__(self, window: TimeWindow, clock: Callable[[], float]) -> None:
        super().__init__(window)
        self._clock = clock
        self._width = window.seconds / window.buckets
        self._buckets = [[0, 0, 0, 0] for _ in range(window.buckets)]
        self._now = math.floor(clock() / self._width)  # number of the bucket that is being filled

    def record(self, *, failed: bool, slow: bool) -> bool:
        """Take in one call, and tell whether the breaker has to open."""
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
        """Forget everything."""
        for bucket in self._buckets:
            self._empty(bucket)

    def _empty(self, bucket: list[int]) -> None:
        self._add(-bucket[0], -bucket[1], -bucket[2], -bucket[3])
        bucket[:] = 0, 0, 0, 0
