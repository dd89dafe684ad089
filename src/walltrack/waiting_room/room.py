"""The callers that wait for one circuit: which of them goes next, and when."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

from walltrack.core.extensions import Gate
from walltrack.core.loops import is_over, running
from walltrack.core.naming import shown_key

_SHORTEST: Final = 1e-6
"""Seconds: no timer is more precise, and adding less may not change the time of a clock."""

_FINEST: Final = 0.01
"""Seconds: shorter times depend more on this machine than on the service."""

_SLOW: Final = 2.0
"""How many times as long as the fastest response a quick one takes at most."""

_CLOCK_STANDS_STILL: Final = (
    "the timer ended a wait for an open circuit, but the clock stands still: replace clock and "
    "timer together, for instance by those of walltrack.testing.VirtualTime"
)


class Place:
    """A caller in a waiting room.

    Args:
        room: The room.
        key: The key of the room.
        latest: When the caller must be on its way, on the room's clock.
        until: When it stops waiting; at most `latest`.
    """

    __slots__ = ("key", "latest", "looked_at", "released", "released_at", "room", "until", "wake")

    def __init__(self, room: "Room", key: Hashable, latest: float, until: float) -> None:
        self.room: Room = room
        self.key: Hashable = key
        self.latest: float = latest
        self.until: float = until
        self.released: bool = False
        """Whether the caller may go."""
        self.released_at: float = 0.0
        self.looked_at: float = 0.0
        self.wake: Callable[[], object] = _nothing
        """Called when the caller has to `look` again."""


def _nothing() -> None:
    """Wake a caller that is awake."""


class Room:
    """The callers that wait for one circuit to admit requests.

    1. The newest waiter watches the circuit. When the circuit admits requests again, this waiter
       goes, as the probe, and the next one watches.
    2. Then each success releases one waiter, and a released request that succeeds quickly releases
       two: what is in flight doubles in each round trip, as in TCP's slow start, until responses
       take twice as long as the fastest one. So a service that recovers is not hit by the backlog,
       and a healthy one serves it soon.
    3. If the circuit admits requests and no released request is in flight, one waiter goes.

    The users of the oldest waiters are the most likely to have given up: in simulated outages,
    oldest first costs up to 24 % of all calls (a brownout of 60 s), and gains one at most.

    Args:
        gate: The circuit.
        clock: Monotonic seconds.
    """

    __slots__ = ("_clock", "_fastest", "_in_flight", "_waiting", "_was_shut", "gate", "loop")

    def __init__(self, gate: Gate, clock: Callable[[], float]) -> None:
        self.gate: Gate = gate
        self.loop: object = running()
        self._clock = clock
        self._waiting: OrderedDict[Place, None] = OrderedDict()  # any of them can leave quickly
        self._in_flight = 0  # released, and not settled
        self._was_shut = True  # when a waiter last looked
        self._fastest = math.inf  # seconds until the headers of a released request

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._waiting)

    @property
    def in_use(self) -> bool:
        """Whether any caller waits."""
        return bool(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether no caller waits, and no released request is in flight."""
        return not self._waiting and not self._in_flight

    def describe(self, key: Hashable) -> dict[str, Any]:
        """Return the state, as JSON has it."""
        return {"key": shown_key(key), "waiting": self.waiting}

    def renewed(self) -> "Room":
        """Return an empty room at the same circuit, for the event loop that is running."""
        return Room(self.gate, self._clock)

    def is_hopeless(self, latest: float) -> bool:
        """Return whether the circuit is certain to reject requests until `latest`."""
        return latest <= self._shut_until()

    def join(self, place: Place) -> None:
        """Add a caller, as the newest one."""
        place.released = False
        self._waiting[place] = None

    def leave(self, place: Place) -> None:
        """Remove a caller that gives up or is cancelled, also if it was just released."""
        if is_over(self.loop):  # its tasks cannot be woken any more
            self._waiting.clear()
            self._in_flight = 0
            return
        if place.released:
            self._in_flight -= 1
        else:
            self._waiting.pop(place, None)
        self._stir()

    def look(self, place: Place) -> float:
        """Return for how many seconds a waiter sleeps before it looks again, unless it is woken.

        Returns:
            0.0 if the wait is over: `place.released` tells whether the caller may go.
        """
        place.looked_at = self._clock()
        left = 0.0 if place.released else place.until - place.looked_at
        if left <= 0.0 or self.is_hopeless(place.latest):
            return 0.0
        if place is not self._first():
            return left
        shut_for = self.gate.shut_for()
        if shut_for > 0.0:
            self._was_shut = True
            return min(max(shut_for, _SHORTEST), left)
        if not self._was_shut and self._in_flight:
            return left
        self._release(1)
        return 0.0

    def timed_out(self, place: Place) -> None:
        """Note that a waiter slept as long as it was to.

        Raises:
            RuntimeError: No time has passed on the clock, so that it would sleep without end.
        """
        if self._clock() == place.looked_at:
            raise RuntimeError(_CLOCK_STANDS_STILL)

    def rejected(self) -> None:
        """Note that the circuit rejected a released request: another one was the probe."""
        self._in_flight -= 1

    def settled(self, place: Place | None, *, succeeded: bool) -> bool:
        """Note that a request to this circuit has ended, or that its headers have come.

        Args:
            place: The place that it had here; None if it had none, or if this was noted before.
            succeeded: Whether the service has succeeded so far.

        Returns:
            Whether it succeeded while the circuit still rejects requests. Then its end may close
            the circuit: call this again.
        """
        if place is not None:
            self._in_flight -= 1
        self._stir()
        if self.gate.shut_for() > 0.0:
            self._wake_hopeless()
            return succeeded
        if succeeded:
            self._release(2 if place is not None and self._was_quick(place) else 1)
        return False

    def _was_quick(self, place: Place) -> bool:
        seconds = max(self._clock() - place.released_at, _FINEST)
        self._fastest = min(self._fastest, seconds)
        return seconds <= _SLOW * self._fastest

    def _shut_until(self) -> float:
        # The verdict on a probe may admit requests at any moment.
        return -math.inf if self.gate.is_probing else self._clock() + self.gate.shut_for()

    def _wake_hopeless(self) -> None:
        shut_until = self._shut_until()
        for place in self._waiting:
            if place.latest <= shut_until:
                place.wake()

    def _release(self, count: int) -> None:
        self._was_shut = False
        now = self._clock()
        for _ in range(min(count, len(self._waiting))):
            place, _ = self._waiting.popitem()
            self._in_flight += 1
            place.released, place.released_at = True, now
            place.wake()
        self._stir()

    def _stir(self) -> None:
        """Let the first waiter look again."""
        if self._waiting:
            self._first().wake()

    def _first(self) -> Place:
        return next(reversed(self._waiting))
