"""The recent latency of a service: a moving percentile of what was measured."""

import math
from bisect import bisect_left, insort
from collections import deque

from walltrack.core import validation


class MovingPercentile:
    """A percentile of the last values, by nearest rank.

    Args:
        percent: Which percentile; above 0, at most 100.
        window: How many values count; each further one replaces the oldest.
        needed: How many values are needed before there is a percentile; at most `window`.

    Raises:
        TypeError: A number has another type.
        ValueError: A number is out of range.
    """

    __slots__ = ("_in_order", "_needed", "_of_late", "_percent", "_window")

    def __init__(self, percent: float = 95.0, window: int = 200, needed: int = 20) -> None:
        validation.positive("percent", percent)
        validation.integer("window", window, minimum=1)
        validation.integer("needed", needed, minimum=1)
        if percent > 100:  # noqa: PLR2004 - per cent
            raise ValueError(f"percent must be at most 100, got {percent}")
        if needed > window:
            raise ValueError(f"needed must be at most window={window}, got {needed}")
        self._percent = percent
        self._window = window
        self._needed = needed
        self._of_late: deque[float] = deque()
        self._in_order: list[float] = []  # the same, sorted; for a few hundred, a list is fastest

    def __len__(self) -> int:
        return len(self._in_order)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.value} of {len(self)} values>"

    @property
    def idle(self) -> bool:
        """True: it can be evicted at any time, since it can be measured again."""
        return True

    @property
    def value(self) -> float | None:
        """The percentile; None until there are enough values."""
        values = self._in_order
        if len(values) < self._needed:
            return None
        return values[math.ceil(len(values) * self._percent / 100) - 1]

    def note(self, value: float) -> None:
        """Add a value."""
        values = self._in_order
        if len(values) == self._window:
            del values[bisect_left(values, self._of_late.popleft())]
        self._of_late.append(value)
        insort(values, value)

    def note_at_least(self, value: float) -> None:
        """Add a value of which only a lower bound is known, if the bound is above the percentile.

        Such a bound has the same effect as the value itself. A bound below the percentile is
        ignored, since the value could be anywhere.
        """
        percentile = self.value
        if percentile is not None and value > percentile:
            self.note(value)
