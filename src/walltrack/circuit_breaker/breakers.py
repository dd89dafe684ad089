"""One circuit breaker for each key, in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.ledger import Entry, Ledger
from walltrack.core import validation

_Keys = OrderedDict[Entry, Hashable]


class BreakersByKey(Ledger):
    """Keep one circuit breaker for each key, made when it is first needed; be their ledger.

    On insertion into a full collection, breakers are evicted:

    1. First the oldest clean one: closed, in automatic mode, without failures in a row. With a
       window, a breaker is clean while it is closed; the calls in its window are lost.
    2. If none is clean, the one that has been idle for longest: it is closed and has counted
       failures in a row, but had no request for longer than its cooldown.

    A breaker that is open or half-open, or whose mode was set manually, is never evicted. So during
    a large outage there can be more than `max_breakers`, until enough of them have recovered.

    An evicted breaker ignores the results of requests in flight. They are counted by its successor,
    if there is one.

    Args:
        make: Makes a breaker that uses the given ledger.
        max_breakers: How many breakers are kept; at least 1.

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
        self.view: Mapping[Hashable, CircuitBreaker] = MappingProxyType(self._breakers)
        """The breakers by their keys, read-only."""
        # Each breaker is in one of these. They are not plain dicts: to find its first key, a plain
        # dict skips all keys that were deleted before it.
        self._clean = _Keys()  # in the order in which they became clean
        self._counting = _Keys()  # the others, in the order of their last use
        self._kept = _Keys()  # those of the others that turned out not to be closed

    def __len__(self) -> int:
        return len(self._breakers)

    def obtain(self, key: Hashable) -> CircuitBreaker:
        """Return the breaker for `key`; make it if there is none."""
        breaker = self._breakers.get(key)
        if breaker is None:
            self._make_room()
            breaker = self._breakers[key] = self._make(self)
            self._clean[breaker] = key
        return breaker

    def key_of(self, breaker: Entry) -> Hashable:
        """Return the key of `breaker`.

        Raises:
            KeyError: It was evicted.
        """
        for group in (self._clean, self._counting):
            if breaker in group:
                return group[breaker]
        return self._kept[breaker]

    def troubled(self, breaker: Entry) -> None:
        """Keep `breaker` while it is in use or not closed; do nothing if it was evicted."""
        if breaker in self._clean:
            self._counting[breaker] = self._clean.pop(breaker)
            super().troubled(breaker)

    def used(self, breaker: Entry) -> None:
        """Note that a request uses `breaker` now."""
        if breaker in self._counting:
            self._counting.move_to_end(breaker)

    def recovered(self, breaker: Entry) -> None:
        """Allow `breaker` to be evicted."""
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
            self._kept[oldest] = self._counting.pop(oldest)  # not examined again until it recovers
        return False

    def _evict(self, group: _Keys) -> Entry:
        oldest, key = group.popitem(last=False)
        del self._breakers[key]
        # A new breaker for the same key must ignore the results that this one would have ignored.
        self.floor: int = max(self.floor, oldest.generation)
        oldest.disown_results_in_flight()
        return oldest
