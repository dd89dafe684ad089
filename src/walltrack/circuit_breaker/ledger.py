"""The common state of the circuit breakers of one transport."""

import weakref
from typing import Protocol

from walltrack.circuit_breaker.state import CircuitMode, CircuitState


class Watcher(Protocol):
    """Something that is notified when the mode of a breaker is set manually."""

    @property
    def listener(self) -> object:
        """The listener that it calls then."""
        ...

    def mode_changed(self, breaker: "Entry", previous: CircuitState, /) -> None:
        """Note that the mode of `breaker` was set, whose state was `previous` before."""
        ...


class Entry(Protocol):
    """A breaker, as far as a ledger needs it."""

    cooldown_seconds: float
    member: object

    @property
    def generation(self) -> int:
        """The current generation: results of requests that began in an earlier one are ignored."""
        ...

    def idle_for(self) -> float | None:
        """Return the seconds since its last request; None while it must not be evicted."""
        ...

    def disown_results_in_flight(self) -> None:
        """Ignore the results of requests that began before now."""
        ...


class Ledger:
    """The common state of the breakers of one transport.

    Attributes:
        epoch: A counter that rises with every change that matters to requests in flight. A request
            notes the epoch when it begins. This shows later whether it began before or after a
            change of a breaker, and whether anything has changed since.
        floor: The generation in which new breakers begin.
        alert: The number of reasons to look up the breaker of each request: one for each breaker
            that is not clean, one if there is a window, which has to count every call, and one if
            other processes have to learn something. While it is 0, a success changes nothing.
        usual_mode: The mode in which breakers begin. Only a breaker in this mode can be clean.
    """

    def __init__(self) -> None:
        self.epoch: int = 0
        self.floor = 0
        self.alert: int = 0
        self.usual_mode: CircuitMode = CircuitMode.AUTOMATIC
        self._sees_all = False
        # Weak, because a breaker that transports share may exist for longer than they do.
        self._watchers: list[weakref.ref[Watcher]] = []
        self._unsent: list[Entry] | None = None

    def watch(self, watcher: Watcher) -> None:
        """Notify `watcher` of modes that are set manually, as long as it exists."""
        self._watchers.append(weakref.ref(watcher, self._watchers.remove))

    def mode_changed(self, breaker: Entry, previous: CircuitState) -> None:
        """Notify one watcher of each listener that the mode of `breaker` was set manually."""
        told: list[object] = []
        for reference in tuple(self._watchers):
            watcher = reference()
            if watcher is not None and watcher.listener not in told:
                told.append(watcher.listener)
                watcher.mode_changed(breaker, previous)
        self.note_unsent(breaker)

    def see_all(self) -> None:
        """Have every request counted from now on; a second call has no effect."""
        if not self._sees_all:
            self._sees_all = True
            self.alert += 1

    def troubled(self, _breaker: Entry) -> None:
        """Note that a clean breaker is no longer clean."""
        self.alert += 1
        self.epoch += 1

    def used(self, breaker: Entry) -> None:
        """Note that a request uses a breaker that is closed and not clean."""

    def recovered(self, breaker: Entry) -> None:
        """Note that a breaker is clean again."""
        self.alert -= 1
        self.note_unsent(breaker)

    # What other processes have to learn of breakers that no request may look up any more

    def share(self) -> None:
        """Note from now on what other processes have to learn."""
        if self._unsent is None:
            self._unsent = []

    def note_unsent(self, breaker: Entry) -> None:
        """Note that other processes have to learn of a breaker, if there are any."""
        if self._unsent is not None:
            self.alert += not self._unsent
            self._unsent.append(breaker)

    def take_unsent(self) -> list[Entry]:
        """Return the breakers of which other processes have to learn, each time only once."""
        unsent = self._unsent
        if not unsent:
            return []
        self._unsent = []
        self.alert -= 1
        return unsent
