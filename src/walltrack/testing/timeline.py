"""The current virtual time, and timers in the order of their times."""

from bisect import bisect_left, insort
from collections.abc import Callable

Timer = tuple[float, int, Callable[[], object]]


class Timeline:
    """The current time, and timers for later times.

    Args:
        on_begin: Called whenever a timer is added.
    """

    def __init__(self, on_begin: Callable[[], object]) -> None:
        self.now: float = 0.0
        self._on_begin = on_begin
        self._begun = 0
        self._timers: list[Timer] = []  # sorted; a list is fast enough for a few timers

    def __len__(self) -> int:
        return len(self._timers)

    def begin(self, at: float, ring: Callable[[], object]) -> Timer:
        """Add a timer that calls `ring` at the time `at`, after earlier timers for that time."""
        self._begun += 1
        timer = at, self._begun, ring
        insort(self._timers, timer)
        self._on_begin()
        return timer

    def forget(self, timer: Timer) -> None:
        """Remove a timer; do nothing if it has already rung."""
        index = bisect_left(self._timers, timer)
        if self._timers[index : index + 1] == [timer]:
            del self._timers[index]

    def ring_next(self) -> None:
        """Move on to the time of the earliest timer, and ring this one timer."""
        at, _, ring = self._timers.pop(0)
        self.now = max(self.now, at)
        ring()

    def ring_all(self) -> None:
        """Ring all timers without moving the time."""
        while self._timers:
            self._timers.pop(0)[-1]()

    def advance_to(self, moment: float) -> None:
        """Move on to `moment`, unless it has passed, and ring all timers up to it."""
        while self._timers and self._timers[0][0] <= moment:
            self.ring_next()
        self.now = max(self.now, moment)
