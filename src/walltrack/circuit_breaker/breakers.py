"""Many circuit breakers, one for each key, in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.ledger import Entry, Ledger
from walltrack.core import validation

_Keys = OrderedDict[Entry, Hashable]


class BreakersByKey(Ledger):
    """One circuit breaker for each key, made when it is first needed; the ledger of them all.

    On insertion into a full collection, breakers are evicted:

    1. The oldest clean one: closed, in automatic mode, and without failures in a row. One with a
       window is clean while it is closed; it takes along what its window held.
    2. Without any of these, the one that has been idle for longest: it has counted failures in a
       row, but is closed, and had no request for longer than its cooldown.

    An open or half-open one, or one whose mode was set manually, is never evicted. So a great
    outage may exceed the bound until enough breakers have recovered.

    An evicted breaker ignores the results of requests in flight. They reach its successor, if
    there is one.

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
        self.find: Callable[[Hashable], CircuitBreaker | None] = self._breakers.get
        """The breaker for a key, if there was a need for one."""
        # Each breaker is in one of these. The first key of a plain dict is found only by passing
        # over all that were deleted before it.
        self._clean = _Keys()  # in the order in which they became so
        self._counting = _Keys()  # the others, in the order of their last use
        self._kept = _Keys()  # those of the others that were found not to be closed

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
        """Keep `breaker` while it is in use or not closed; nothing happens if it was evicted."""
        if breaker in self._clean:
            self._counting[breaker] = self._clean.pop(breaker)
            super().troubled(breaker)

    def used(self, breaker: Entry) -> None:
        """Note that `breaker` is the one that was used last."""
        if breaker in self._counting:
            self._counting.move_to_end(breaker)

    def recovered(self, breaker: Entry) -> None:
        """Let `breaker` be evicted when its turn comes."""
        for others in (self._counting, self._kept):
            if breaker in others:
                self._clean[breaker] = others.pop(breaker)
                super().recovered(breaker)

    def _make_room(self) -> None:
        while len(self._breakers) >= self._max_breakers:
            if self._clean:
                self._evict(self._clean)
            elif self._is_oldest_idle():
                super().recovered(self._evict(self._counting))
            else:
                return

    def _is_oldest_idle(self) -> bool:
        while self._counting:
            oldest = next(iter(self._counting))
            idle_for = oldest.idle_for()
            if idle_for is not None:
                return idle_for > oldest.cooldown_seconds
            self._kept[oldest] = self._counting.pop(oldest)  # until it recovers: not asked again
        return False

    def _evict(self, group: _Keys) -> Entry:
        oldest, key = group.popitem(last=False)
        del self._breakers[key]
        # A new breaker for the same key must not believe what this one would have called late.
        self.floor: int = max(self.floor, oldest.generation)
        oldest.disown_results_in_flight()
        return oldest
