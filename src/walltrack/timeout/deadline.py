"""How long a call or an attempt may still take."""

from collections.abc import Callable

from walltrack.core.extensions import Deadline


class TimeLimit:
    """A `Deadline` that began just now: how much is left of it, and of those around it.

    Args:
        seconds: How long it lasts.
        name: What it is called in errors.
        clock: Monotonic seconds.
        outer: The deadline of a call that this is a part of, if there is one.
    """

    __slots__ = ("_clock", "_outer", "_until", "name", "seconds")

    def __init__(
        self,
        seconds: float,
        name: str,
        clock: Callable[[], float],
        outer: Deadline | None = None,
    ) -> None:
        # 1. A limit of ours is enforced by the layer that set it, from outside: it strikes in its
        #    own name, however much longer this one is.
        # 2. Nobody is known to enforce any other deadline: this limit is no longer than that.
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
        """How many seconds are left, of this limit and those around it; 0.0 when one has passed."""
        left = self.own_remaining()
        return left if self._outer is None else max(min(left, self._outer.remaining()), 0.0)

    def own_remaining(self) -> float:
        """How many seconds are left of this limit alone; 0.0 when it has passed."""
        return max(self._until - self._clock(), 0.0)

    def passed(self) -> "TimeLimit | None":
        """The limit that has passed, this one or one around it, the outermost first; or None."""
        outer = self._outer
        if isinstance(outer, TimeLimit) and (passed := outer.passed()) is not None:
            return passed
        return self if self.remaining() <= 0.0 else None
