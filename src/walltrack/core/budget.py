"""How many retries a client can afford."""

from walltrack.core import validation

_ROUNDING = 1e-9  # ten deposits of 0.1 add up to a little less than 1


class RetryBudget:
    """A purse that successes fill and retries empty, so that retries cannot keep an outage alive.

    A budget funded by requests grows with the load of a collapse; this one grows only while calls
    succeed. In steady state at most `deposit` retries are made for every success.

    Args:
        capacity: The most it holds, in retries; it starts full. Infinite: never empty.
        deposit: What one success adds.

    Raises:
        TypeError: A number is not a number.
        ValueError: `capacity` is below 1, or `deposit` is negative or infinite; or one is NaN.
    """

    __slots__ = ("_balance", "_capacity", "_deposit")

    def __init__(self, capacity: float = 100.0, *, deposit: float = 0.1) -> None:
        validation.number("capacity", capacity, minimum=1.0, finite=False)
        validation.number("deposit", deposit)
        self._capacity = capacity
        self._deposit = deposit
        self._balance = capacity

    @property
    def balance(self) -> float:
        """How many retries could be paid for now."""
        return self._balance

    def deposit(self) -> None:
        """Take note of a success."""
        self._balance = min(self._balance + self._deposit, self._capacity)

    def withdraw(self) -> bool:
        """Pay for one retry; False, and nothing is taken, when the balance does not cover it."""
        if self._balance < 1.0 - _ROUNDING:
            return False
        self._balance = max(self._balance - 1.0, 0.0)
        return True

    def __repr__(self) -> str:
        return f"<RetryBudget {self._balance:.1f} of {self._capacity:g}>"
