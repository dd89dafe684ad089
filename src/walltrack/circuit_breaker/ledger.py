"""The common state of the circuit breakers of one transport."""

from typing import Protocol


class Entry(Protocol):
    """A breaker, as far as a ledger needs it."""

    cooldown_seconds: float

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
            that is not clean, and one if there is a window, which has to count every call. While
            it is 0, a success changes nothing.
    """

    def __init__(self) -> None:
        self.epoch: int = 0
        self.floor = 0
        self.alert: int = 0
        self._sees_all = False

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

    def recovered(self, _breaker: Entry) -> None:
        """Note that a breaker is clean again."""
        self.alert -= 1
