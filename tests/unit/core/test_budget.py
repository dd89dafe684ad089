from typing import Any

import pytest

from walltrack.core.budget import RetryBudget


def spend(budget: RetryBudget) -> int:
    """Ask for more than any budget here holds, and tell how many retries were paid."""
    return sum(budget.withdraw() for _ in range(1000))


def test_a_budget_starts_full() -> None:
    """A hundred retries can be paid for before any success, and not one more."""
    assert RetryBudget().balance == 100.0
    assert spend(RetryBudget()) == 100


def test_a_retry_takes_one() -> None:
    """Each retry that is paid for lowers the balance by one."""
    budget = RetryBudget(3.0)

    assert budget.withdraw()
    assert budget.balance == 2.0


@pytest.mark.parametrize("successes", range(1, 10))
def test_fewer_than_ten_successes_pay_for_no_retry(successes: int) -> None:
    """A success deposits a tenth of a retry."""
    budget = RetryBudget()
    spend(budget)

    for _ in range(successes):
        budget.deposit()

    assert budget.balance == pytest.approx(successes / 10)
    assert not budget.withdraw()


def test_successes_pay_for_a_tenth_as_many_retries() -> None:
    """Over a long time, retries are a tenth of the successes."""
    budget = RetryBudget()
    spend(budget)
    paid = 0

    for _ in range(10_000):
        budget.deposit()
        paid += budget.withdraw()

    assert paid == pytest.approx(1000, abs=1)


def test_a_refused_withdrawal_takes_nothing() -> None:
    """What does not cover a retry stays, to be added to."""
    budget = RetryBudget(1.0, deposit=0.75)
    budget.withdraw()
    budget.deposit()

    assert not budget.withdraw()
    assert budget.balance == 0.75


def test_a_budget_holds_its_capacity_at_most() -> None:
    """However long all goes well, no more retries than the capacity pile up."""
    budget = RetryBudget(2.0, deposit=0.75)
    budget.withdraw()

    for _ in range(3):
        budget.deposit()

    assert budget.balance == 2.0


def test_a_budget_without_deposits_is_never_filled_again() -> None:
    """`deposit=0` allows the capacity's retries once and for all."""
    budget = RetryBudget(1.0, deposit=0.0)
    spend(budget)

    budget.deposit()

    assert not budget.withdraw()


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"capacity": 0.5}, ValueError, "capacity"),
        ({"capacity": float("nan")}, ValueError, "capacity"),
        ({"capacity": "100"}, TypeError, "capacity"),
        ({"deposit": -0.1}, ValueError, "deposit"),
        ({"deposit": float("nan")}, ValueError, "deposit"),
        ({"deposit": float("inf")}, ValueError, "deposit"),
        ({"deposit": True}, TypeError, "deposit"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    """What cannot be meant is refused where it is given, by its name."""
    with pytest.raises(error, match=f"^{named} must be"):
        RetryBudget(**arguments)


def test_the_repr_tells_what_is_left() -> None:
    """A developer sees the balance and the capacity."""
    budget = RetryBudget(10.0)
    budget.withdraw()

    assert repr(budget) == "<RetryBudget 9.0 of 10>"


def test_ten_successes_pay_for_one_retry() -> None:
    """The tenths add up, whatever binary fractions make of them."""
    budget = RetryBudget(1.0)
    assert budget.withdraw()
    for _ in range(10):
        budget.deposit()

    assert budget.withdraw()
    assert not budget.withdraw()


def test_an_infinite_budget_is_never_empty() -> None:
    """`capacity=inf` is how a budget is turned off."""
    budget = RetryBudget(float("inf"))

    assert all(budget.withdraw() for _ in range(1000))
