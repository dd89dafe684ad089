"""A budget for retries: failing services must not receive ever more requests."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from walltrack.core import family, validation
from walltrack.core.delivery import Delivery
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.naming import finite, shown_key
from walltrack.core.observer import Reading

_ROUNDING = 1e-9  # ten deposits of 0.1 add up to slightly less than 1
_TOO_MANY = 429
_TIMEOUTS = family.each("TimeoutException")
_LOOKED_AT = 8  # oldest budgets examined on each insertion: constant work for any number of keys


class RetryBudget:
    """Limit retries to a share of the successes, so that retries do not prolong an outage.

    The budget has a balance. Successes and time add to it, each retry takes 1 from it, or a cost by
    how the last attempt failed. A budget that grew with the number of requests would grow during an
    outage as well; this one grows with successes, and slowly with time, so that a brief failure
    long after an outage can be retried. In steady state there are at most `deposit` retries for
    every success.

    A transport uses its budget as a template and makes one like it for each origin: a service that
    is down cannot use up the retries of the others. With `shared=True`, this object itself is used
    for all origins, and by all transports that it is given to.

    Args:
        capacity: Highest balance, in retries; the budget starts full. Infinite: never empty.
        deposit: What one success adds, in retries.
        refill: What one second adds, in retries.
        refused_cost: What a retry takes if the last attempt was refused, so that it cost the
            service no work: nothing was sent, or the status was 429. Default: 1.
        timeout_cost: What a retry takes if the last attempt timed out: the service may still be
            working on it. Default: 1.
        shared: Whether one budget is used for every origin.
        clock: Monotonic seconds. Budgets made by a transport use that transport's clock.

    Raises:
        TypeError: An argument has another type.
        ValueError: `capacity` is below 1 or below a cost, another number is negative or infinite,
            or one is NaN.
    """

    __slots__ = (
        "_at",
        "_balance",
        "_capacity",
        "_clock",
        "_deposit",
        "_refill",
        "refused_cost",
        "shared",
        "timeout_cost",
    )

    @shows_defaults_by_name
    def __init__(
        self,
        capacity: float = 100.0,
        *,
        deposit: float = 0.1,
        refill: float = 0.1,
        refused_cost: float = 1.0,
        timeout_cost: float = 1.0,
        shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        validation.number("capacity", capacity, minimum=1.0, finite=False)
        validation.number("deposit", deposit)
        validation.number("refill", refill)
        validation.number("refused_cost", refused_cost)
        validation.number("timeout_cost", timeout_cost)
        if max(refused_cost, timeout_cost) > capacity:
            raise ValueError("refused_cost and timeout_cost must be at most capacity")
        validation.instance("shared", shared, bool)
        validation.function("clock", clock)
        self._capacity = capacity
        self._deposit = deposit
        self._refill = refill
        self.refused_cost: float = refused_cost
        self.timeout_cost: float = timeout_cost
        self.shared: bool = shared
        self._clock = clock
        self._balance = capacity
        self._at = -math.inf

    def __repr__(self) -> str:
        costs = f"refused_cost={self.refused_cost:g}, timeout_cost={self.timeout_cost:g}"
        grows = f"deposit={self._deposit:g}, refill={self._refill:g}"
        shown = f"{self._capacity:g}, {grows}, {costs}, <{self.balance:.1f} left>"
        return f"{type(self).__name__}({shown})"

    @property
    def balance(self) -> float:
        """How many retries the budget allows now."""
        if self._balance < self._capacity:
            return self._balance_at(self._clock())
        return self._balance

    @property
    def capacity(self) -> float:
        """Highest balance, in retries."""
        return self._capacity

    @property
    def is_full(self) -> bool:
        """Whether the balance is at its highest, as in a new budget."""
        return self.balance >= self._capacity

    def deposit(self) -> None:
        """Add a deposit for one success."""
        self._balance = min(self._accrue() + self._deposit, self._capacity)

    def withdraw(self, cost: float = 1.0) -> bool:
        """Take `cost` from the balance; return False, and take nothing, if it is too low."""
        balance = self._accrue()
        if balance < cost - _ROUNDING:
            return False
        if balance == self._capacity:
            self._at = self._clock()
        self._balance = max(balance - cost, 0.0)
        return True

    def _accrue(self) -> float:
        if self._balance < self._capacity:
            now = self._clock()
            self._balance, self._at = self._balance_at(now), now
        return self._balance

    def _balance_at(self, now: float) -> float:
        return min(self._balance + (now - self._at) * self._refill, self._capacity)

    def like(self, clock: Callable[[], float]) -> "RetryBudget":
        """Return a full budget with the same settings and another clock."""
        return RetryBudget(
            self._capacity,
            deposit=self._deposit,
            refill=self._refill,
            refused_cost=self.refused_cost,
            timeout_cost=self.timeout_cost,
            clock=clock,
        )


class Budgets:
    """Keep one budget for each key while it is not full, or use one shared budget for all keys.

    Args:
        template: Each budget gets its settings; a shared one is used for all keys. None: no limit.
        clock: Monotonic seconds, for the budgets that are made here.
        max_keys: How many budgets are kept. On insertion, old ones that are full again are evicted;
            others never are, so that this can be exceeded.
    """

    __slots__ = ("_clock", "_max_keys", "_template", "short")

    def __init__(
        self, template: RetryBudget | None, clock: Callable[[], float], max_keys: int = 10_000
    ) -> None:
        self._template = template
        self._clock = clock
        self._max_keys = max_keys
        self.short: OrderedDict[Hashable, RetryBudget] = OrderedDict()
        """The budgets that are not full: a success adds to them. Empty in normal operation."""
        if template is not None and template.shared:
            self.short[None] = template

    def withdraw(self, key: Hashable, cost: float = 1.0) -> bool:
        """Take `cost` from the budget for this key; return False if it is too low."""
        if self._template is None:
            return True
        if self._template.shared:
            return self._template.withdraw(cost)
        budget = self.short.get(key)
        if budget is None:
            self._make_room()
            budget = self.short[key] = self._template.like(self._clock)
        return budget.withdraw(cost)

    def cost_after(self, ended: object, delivery: Delivery) -> float:
        """Return the cost of a retry, by how the last attempt failed.

        Args:
            ended: The response or the exception that ended it.
            delivery: Whether the service can have acted on it.
        """
        if self._template is None:
            return 0.0
        if delivery is Delivery.NOT_SENT or getattr(ended, "status_code", 0) == _TOO_MANY:
            return self._template.refused_cost
        return self._template.timeout_cost if isinstance(ended, _TIMEOUTS) else 1.0

    def deposit(self, key: Hashable) -> None:
        """Add a deposit for one success with this key."""
        if self._template is not None and self._template.shared:
            self._template.deposit()
        elif (budget := self.short.get(key)) is not None:
            budget.deposit()
            if budget.is_full:
                del self.short[key]

    def can_afford(self, key: Hashable) -> bool:
        """Return whether the budget for this key allows a retry now."""
        if self._template is None:
            return True
        budget = self._template if self._template.shared else self.short.get(key)
        return budget is None or budget.balance >= 1.0 - _ROUNDING

    def describe(self) -> list[dict[str, Any]]:
        """Return the budgets that are not full, as JSON has them."""
        return [
            {
                "key": None if key is None else shown_key(key),
                "balance": finite(budget.balance),
                "capacity": finite(budget.capacity),
            }
            for key, budget in self.short.items()
            if not budget.is_full
        ]

    def readings(self) -> list[Reading]:
        """Return the balance of each budget that is not full, or of the shared one."""
        return [
            Reading("budget_balance", key, budget.balance)
            for key, budget in tuple(self.short.items())
        ]

    def _make_room(self) -> None:
        for _ in range(min(_LOOKED_AT, len(self.short))):
            if len(self.short) < self._max_keys:
                return
            key, oldest = self.short.popitem(last=False)
            if not oldest.is_full:
                self.short[key] = oldest  # moved to the end, to be examined again later
