"""The remaining time of a call or an attempt."""

from collections.abc import Callable

from walltrack.core.extensions import Deadline


class TimeLimit:
    """A `Deadline` that starts now, within the deadlines around it.

    Args:
        seconds: The time limit, in seconds.
        name: Its name in errors.
        clock: Monotonic seconds.
        outer: The deadline of the surrounding call, if there is one.
    """

    __slots__ = ("_clock", "_outer", "_until", "name", "seconds")

    def __init__(
        self,
        seconds: float,
        name: str,
        clock: Callable[[], float],
        outer: Deadline | None = None,
    ) -> None:
        # 1. An outer `TimeLimit` is enforced by the outer layer that set it, and is named in the
        #    error, even if this one is longer.
        # 2. No layer enforces any other outer deadline, so this limit must not be longer.
        if outer is not None and not isinstance(outer, TimeLimit):
            seconds = min(seconds, max(outer.remaining(), 0.0))
        self.seconds: float = seconds
        self.name: str = name
        self._clock = clock
        self._until = clock() + seconds
        self._outer = outer

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.seconds!r}, {self.name!r})"

    def remaining(self) -> float:
        """Return the remaining seconds of this and all outer limits; 0.0 if one has passed."""
        left = self.own_remaining()
        return left if self._outer is None else max(min(left, self._outer.remaining()), 0.0)

    def own_remaining(self) -> float:
        """Return the remaining seconds of this limit alone; 0.0 if it has passed."""
        return max(self._until - self._clock(), 0.0)

    def passed(self) -> "TimeLimit | None":
        """Return the outermost limit that has passed, of this and all outer ones; None if none."""
        outer = self._outer
        if isinstance(outer, TimeLimit) and (passed := outer.passed()) is not None:
            return passed
        return self if self.remaining() <= 0.0 else None
