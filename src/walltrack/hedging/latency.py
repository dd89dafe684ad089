"""How long a service takes of late: a percentile that moves with what is measured."""

import math
from bisect import bisect_left, insort
from collections import deque

from walltrack.core import validation


class MovingPercentile:
    """A percentile of the last so many values, by nearest rank.

    Args:
        percent: Which one; above 0, at most 100.
        window: How many values count; the oldest goes when there is one more.
        needed: Before so many values there is no percentile; at most `window`.

    Raises:
        TypeError: A number is not a number, or not a whole one.
        ValueError: A number is out of range.
    """

    __slots__ = ("_in_order", "_needed", "_of_late", "_percent", "_window")

    def __init__(self, percent: float = 95.0, window: int = 200, needed: int = 20) -> None:
        validation.positive("percent", percent)
        validation.integer("window", window, minimum=1)
        validation.integer("needed", needed, minimum=1)
        if percent > 100:  # noqa: PLR2004 - as its name says
            raise ValueError(f"percent must be at most 100, got {percent}")
        if needed > window:
            raise ValueError(f"needed must be at most window={window}, got {needed}")
        self._percent = percent
        self._window = window
        self._needed = needed
        self._of_late: deque[float] = deque()
        self._in_order: list[float] = []  # the same; a few hundred move faster than any tree

    def __len__(self) -> int:
        return len(self._in_order)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.value} of {len(self)} values>"

    @property
    def idle(self) -> bool:
        """True: who forgets it has to measure anew, and loses nothing else."""
        return True

    @property
    def value(self) -> float | None:
        """The percentile; None before there are enough values."""
        values = self._in_order
        if len(values) < self._needed:
            return None
        return values[math.ceil(len(values) * self._percent / 100) - 1]

    def note(self, value: float) -> None:
        """Take a value."""
        values = self._in_order
        if len(values) == self._window:
            del values[bisect_left(values, self._of_late.popleft())]
        self._of_late.append(value)
        insort(values, value)

    def note_at_least(self, value: float) -> None:
        """Take a value of which only a lower bound is known, if that tells anything.

        A bound above the percentile stands for a value above it, as good as the value itself. One
        below may stand for any.
        """
        percentile = self.value
        if percentile is not None and value > percentile:
            self.note(value)
