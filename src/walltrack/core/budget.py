"""How many retries a client can afford."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from walltrack.core import validation
from walltrack.core.named import shows_defaults_by_name

_ROUNDING = 1e-9  # ten deposits of 0.1 add up to a little less than 1
_LOOKED_AT = 8  # of the oldest, on each insertion: constant work, however many there are


class RetryBudget:
    """A balance that successes and time fill and retries empty, so that no outage is kept alive.

    A budget that grows with the number of requests grows with the load of a collapse; this one
    grows only while calls succeed, and slowly by itself, so that a hiccup long after an outage can
    be retried. In steady state at most `deposit` retries are made for every success.

    A transport that is given one makes a budget like it for each origin: a dead service cannot use
    up the retries of the others. With `shared=True` this very object pays for all of them, and for
    all transports that it is given to.

    Args:
        capacity: The most that it holds, in retries; it starts full. Infinite: never empty.
        deposit: What one success adds.
        refill: What one second adds.
        shared: Whether it pays for every origin.
        clock: Monotonic seconds. A budget that a transport makes goes by that transport's clock.

    Raises:
        TypeError: An argument is of another type.
        ValueError: `capacity` is below 1, another number is negative or infinite, or one is NaN.
    """

    __slots__ = ("_at", "_balance", "_capacity", "_clock", "_deposit", "_refill", "shared")

    @shows_defaults_by_name
    def __init__(
        self,
        capacity: float = 100.0,
        *,
        deposit: float = 0.1,
        refill: float = 0.1,
        shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        validation.number("capacity", capacity, minimum=1.0, finite=False)
        validation.number("deposit", deposit)
        validation.number("refill", refill)
        validation.instance("shared", shared, bool)
        validation.function("clock", clock)
        self._capacity = capacity
        self._deposit = deposit
        self._refill = refill
        self.shared: bool = shared
        self._clock = clock
        self._balance = capacity
        self._at = -math.inf

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.balance:.1f} of {self._capacity:g}>"

    @property
    def balance(self) -> float:
        """How many retries could be paid for now."""
        if self._balance < self._capacity:
            now = self._clock()
            self._balance = min(self._balance + (now - self._at) * self._refill, self._capacity)
            self._at = now
        return self._balance

    @property
    def is_full(self) -> bool:
        """Whether a new budget would be no different."""
        return self.balance >= self._capacity

    def deposit(self) -> None:
        """Note a success."""
        self._balance = min(self.balance + self._deposit, self._capacity)

    def withdraw(self) -> bool:
        """Pay for one retry; return False, and take nothing, when the balance does not cover it."""
        balance = self.balance
        if balance < 1.0 - _ROUNDING:
            return False
        if balance == self._capacity:
            self._at = self._clock()
        self._balance = max(balance - 1.0, 0.0)
        return True

    def like(self, clock: Callable[[], float]) -> "RetryBudget":
        """Return a full budget with the same settings, by another clock."""
        return RetryBudget(self._capacity, deposit=self._deposit, refill=self._refill, clock=clock)


class Budgets:
    """A budget for each key, kept only while it is not full; or one that is shared by all.

    Args:
        template: What each is like; if it is shared, the one that pays for all.
        clock: Monotonic seconds, for those that are made here.
        max_keys: How many are kept. On insertion an old one that has refilled is dropped; others
            never are, so that they may exceed this.
    """

    __slots__ = ("_clock", "_max_keys", "_template", "short")

    def __init__(
        self, template: RetryBudget | None, clock: Callable[[], float], max_keys: int = 10_000
    ) -> None:
        self._template = template
        self._clock = clock
        self._max_keys = max_keys
        self.short: OrderedDict[Hashable, RetryBudget] = OrderedDict()
        """Those that a success would add to; none while all is well."""
        if template is not None and template.shared:
            self.short[None] = template

    def withdraw(self, key: Hashable) -> bool:
        """Pay for one retry of a call with this key; without a template retries are free."""
        if self._template is None:
            return True
        if self._template.shared:
            return self._template.withdraw()
        budget = self.short.get(key)
        if budget is None:
            self._make_room()
            budget = self.short[key] = self._template.like(self._clock)
        return budget.withdraw()

    def deposit(self, key: Hashable) -> None:
        """Note a success of a call with this key."""
        if self._template is not None and self._template.shared:
            self._template.deposit()
        elif (budget := self.short.get(key)) is not None:
            budget.deposit()
            if budget.is_full:
                del self.short[key]

    def can_afford(self, key: Hashable) -> bool:
        """Return whether a retry of a call with this key could be paid for now."""
        if self._template is None:
            return True
        budget = self._template if self._template.shared else self.short.get(key)
        return budget is None or budget.balance >= 1.0 - _ROUNDING

    def _make_room(self) -> None:
        for _ in range(min(_LOOKED_AT, len(self.short))):
            if len(self.short) < self._max_keys:
                return
            key, oldest = self.short.popitem(last=False)
            if not oldest.is_full:
                self.short[key] = oldest  # at the end: its turn comes again
