"""Moments that somebody waits for, in their order."""

from bisect import bisect_left, insort
from collections.abc import Callable

Timer = tuple[float, int, Callable[[], object]]


class Timeline:
    """A moment called now, and timers for those to come.

    Args:
        on_begin: Called whenever a timer begins.
    """

    def __init__(self, on_begin: Callable[[], object]) -> None:
        self.now: float = 0.0
        self._on_begin = on_begin
        self._begun = 0
        self._timers: list[Timer] = []  # sorted; few enough that nothing cleverer pays

    def __len__(self) -> int:
        return len(self._timers)

    def begin(self, at: float, ring: Callable[[], object]) -> Timer:
        """Have `ring` called when it is `at`, after those that began before for the same moment."""
        self._begun += 1
        timer = at, self._begun, ring
        insort(self._timers, timer)
        self._on_begin()
        return timer

    def forget(self, timer: Timer) -> None:
        """Have a timer not ring any more; nothing happens if it has."""
        index = bisect_left(self._timers, timer)
        if self._timers[index : index + 1] == [timer]:
            del self._timers[index]

    def ring_next(self) -> None:
        """Move on to the earliest moment that is waited for, and ring one timer."""
        at, _, ring = self._timers.pop(0)
        self.now = max(self.now, at)
        ring()

    def ring_all(self) -> None:
        """Ring all timers, without moving on."""
        while self._timers:
            self._timers.pop(0)[-1]()

    def advance_to(self, moment: float) -> None:
        """Move on to `moment`, if it is to come, and ring all timers up to it."""
        while self._timers and self._timers[0][0] <= moment:
            self.ring_next()
        self.now = max(self.now, moment)
