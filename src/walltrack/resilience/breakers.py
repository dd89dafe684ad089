"""Many circuit breakers, one for each key, in bounded memory."""

from collections.abc import Callable, Hashable

from walltrack.core import validation
from walltrack.resilience.circuit_breaker import CircuitBreaker, Ledger


class BreakersByKey:
    """One circuit breaker for each key, made when it is first needed.

    On insertion into a full collection the oldest breaker that is clean (closed without failures)
    is forgotten. One that is not clean never is, so that a great outage may exceed the bound.

    Args:
        make: Makes a breaker that keeps the given ledger.
        max_breakers: The bound; at least 1.

    Raises:
        TypeError: `max_breakers` is not a whole number.
        ValueError: `max_breakers` is below 1.
    """

    def __init__(self, make: Callable[[Ledger], CircuitBreaker], max_breakers: int) -> None:
        validation.integer("max_breakers", max_breakers, minimum=1)
        self.ledger = Ledger()
        self._make = make
        self._max_breakers = max_breakers
        self._breakers: dict[Hashable, CircuitBreaker] = {}

    def __len__(self) -> int:
        return len(self._breakers)

    def find(self, key: Hashable) -> CircuitBreaker | None:
        """The breaker for `key`, if there was a need for one."""
        return self._breakers.get(key)

    def obtain(self, key: Hashable) -> CircuitBreaker:
        """The breaker for `key`, made if there was none."""
        breaker = self._breakers.get(key)
        if breaker is None:
            if len(self._breakers) >= self._max_breakers:
                self._forget_oldest_clean()
            breaker = self._breakers[key] = self._make(self.ledger)
        return breaker

    def _forget_oldest_clean(self) -> None:
        if self.ledger.alert >= len(self._breakers):
            return
        # Those in trouble that stand before it are filed anew, behind the others, so that the next
        # insertion does not walk over them again.
        while True:
            key = next(iter(self._breakers))
            breaker = self._breakers.pop(key)
            if breaker.is_clean:
                return
            self._breakers[key] = breaker
