"""Many circuit breakers, one for each key, in bounded memory."""

from collections.abc import Callable, Hashable

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.ledger import Entry, Ledger
from walltrack.core import validation


class BreakersByKey(Ledger):
    """One circuit breaker for each key, made when it is first needed; the ledger of them all.

    On insertion into a full collection the oldest clean breaker (closed, without failures in a row,
    and not changed by hand) is forgotten: the one that has been clean for longest. One that is not
    clean never is, so that a great outage may exceed the bound, until enough of them have
    recovered. One that looks at a window is clean while it is closed: what its window held is lost
    when it is forgotten, failures too, and its successor begins with an empty one.

    Args:
        make: Makes a breaker that keeps the given ledger.
        max_breakers: The bound; at least 1.

    Raises:
        TypeError: `max_breakers` is not a whole number.
        ValueError: `max_breakers` is below 1.
    """

    def __init__(self, make: Callable[[Ledger], CircuitBreaker], max_breakers: int) -> None:
        validation.integer("max_breakers", max_breakers, minimum=1)
        super().__init__()
        self._make = make
        self._max_breakers = max_breakers
        self._breakers: dict[Hashable, CircuitBreaker] = {}
        self.find = self._breakers.get  # the breaker for a key, if there was a need for one
        self._clean: dict[Entry, Hashable] = {}  # in the order in which they became so
        self._troubled: dict[Entry, Hashable] = {}

    def __len__(self) -> int:
        return len(self._breakers)

    def obtain(self, key: Hashable) -> CircuitBreaker:
        """The breaker for `key`, made if there was none."""
        breaker = self._breakers.get(key)
        if breaker is None:
            self._make_room()
            breaker = self._breakers[key] = self._make(self)
            self._clean[breaker] = key
        return breaker

    def troubled(self, breaker: Entry) -> None:
        """Keep `breaker` from being forgotten; one that was forgotten already is of no concern."""
        if breaker in self._clean:
            self._troubled[breaker] = self._clean.pop(breaker)
            super().troubled(breaker)

    def recovered(self, breaker: Entry) -> None:
        """Let `breaker` be forgotten when its turn comes."""
        if breaker in self._troubled:
            self._clean[breaker] = self._troubled.pop(breaker)
            super().recovered(breaker)

    def _make_room(self) -> None:
        while self._clean and len(self._breakers) >= self._max_breakers:
            oldest = next(iter(self._clean))
            del self._breakers[self._clean.pop(oldest)]
            # A new breaker for the same key must not believe what this one would have called late.
            self.floor = max(self.floor, oldest.generation)
