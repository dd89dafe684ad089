"""What circuit breakers that serve one transport have in common."""

from typing import Protocol


class Entry(Protocol):
    """A breaker, as far as a ledger is concerned."""

    cooldown_seconds: float

    @property
    def generation(self) -> int:
        """Results of requests that began in an earlier one change nothing."""
        ...

    def idle_for(self) -> float | None:
        """Return the seconds since its last request, or None while it has to be kept anyway."""
        ...

    def disown_results_in_flight(self) -> None:
        """Ignore the results of requests that began before now."""
        ...


class Ledger:
    """What breakers that serve one transport have in common.

    `epoch` is the clock of generations: whatever may concern the requests in flight takes the next
    number. A request that noted the epoch when it began is thereby known to have begun before or
    after a breaker changed, and to have nothing to tell if nothing has happened since. `floor` is
    the generation in which new breakers begin. `alert` counts the reasons for which requests have
    to be seen: each breaker that is not clean is one, and so is a window, which has to see every
    call. While it is 0, a success needs no book-keeping at all.
    """

    def __init__(self) -> None:
        self.epoch: int = 0
        self.floor = 0
        self.alert: int = 0
        self._sees_all = False

    def see_all(self) -> None:
        """Note that from now on every request has to be seen; saying so once is enough."""
        if not self._sees_all:
            self._sees_all = True
            self.alert += 1

    def troubled(self, _breaker: Entry) -> None:
        """Note that a breaker, which was clean, is not any more."""
        self.alert += 1
        self.epoch += 1

    def used(self, breaker: Entry) -> None:
        """Note that a request used a breaker that is closed and not clean."""

    def recovered(self, _breaker: Entry) -> None:
        """Note that a breaker is clean again."""
        self.alert -= 1
