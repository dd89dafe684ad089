from typing import Any

import httpx
import httpx2
import pytest

from tests.support import Clock
from walltrack.core.budget import Budgets, RetryBudget
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import TimeLimitExceededError, WaitingRoomTimeoutError


def spend(budget: RetryBudget) -> int:
    """Withdraw more often than any budget here allows, and return how many retries were paid."""
    return sum(budget.withdraw() for _ in range(1000))


def test_a_budget_starts_full() -> None:
    """A hundred retries can be paid before any success, and not one more."""
    assert RetryBudget().balance == 100.0
    assert spend(RetryBudget()) == 100


def test_a_retry_takes_one() -> None:
    """Each retry that is paid for lowers the balance by one."""
    budget = RetryBudget(3.0, clock=lambda: 0.0)

    assert budget.withdraw()
    assert budget.balance == 2.0


@pytest.mark.parametrize("successes", range(1, 10))
def test_fewer_than_ten_successes_pay_for_no_retry(successes: int) -> None:
    """A success deposits a tenth of a retry."""
    budget = RetryBudget(clock=lambda: 0.0)
    spend(budget)

    for _ in range(successes):
        budget.deposit()

    assert budget.balance == pytest.approx(successes / 10)
    assert not budget.withdraw()


def test_successes_pay_for_a_tenth_as_many_retries() -> None:
    """In the long run, retries are a tenth of the successes."""
    budget = RetryBudget(clock=lambda: 0.0)
    spend(budget)
    paid = 0

    for _ in range(10_000):
        budget.deposit()
        paid += budget.withdraw()

    assert paid == pytest.approx(1000, abs=1)


def test_a_refused_withdrawal_takes_nothing() -> None:
    """A balance too small for a retry is kept, and later deposits add to it."""
    budget = RetryBudget(1.0, deposit=0.75, clock=lambda: 0.0)
    budget.withdraw()
    budget.deposit()

    assert not budget.withdraw()
    assert budget.balance == 0.75


def test_a_budget_holds_its_capacity_at_most() -> None:
    """However many successes there are, the balance never exceeds the capacity."""
    budget = RetryBudget(2.0, deposit=0.75, clock=lambda: 0.0)
    budget.withdraw()

    for _ in range(3):
        budget.deposit()

    assert budget.balance == 2.0


def test_a_budget_without_deposits_is_never_filled_again() -> None:
    """`deposit=0` allows as many retries as the capacity, and no more."""
    budget = RetryBudget(1.0, deposit=0.0, clock=lambda: 0.0)
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
        ({"refill": -1}, ValueError, "refill"),
        ({"shared": 1}, TypeError, "shared"),
        ({"clock": 0.0}, TypeError, "clock"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    """An invalid argument is refused when it is given, by its name."""
    with pytest.raises(error, match=f"^{named} must be"):
        RetryBudget(**arguments)


def test_the_repr_tells_what_is_left() -> None:
    """It shows the balance and the capacity."""
    budget = RetryBudget(10.0, clock=lambda: 0.0)
    budget.withdraw()

    assert repr(budget) == (
        "RetryBudget(10, deposit=0.1, refill=0.1, refused_cost=1, timeout_cost=1, <9.0 left>)"
    )


def test_ten_successes_pay_for_one_retry() -> None:
    """The tenths add up, whatever the rounding of binary fractions."""
    budget = RetryBudget(1.0, clock=lambda: 0.0)
    assert budget.withdraw()
    for _ in range(10):
        budget.deposit()

    assert budget.withdraw()
    assert not budget.withdraw()


def test_an_infinite_budget_is_never_empty() -> None:
    """`capacity=inf` turns a budget off."""
    budget = RetryBudget(float("inf"))

    assert all(budget.withdraw() for _ in range(1000))


def test_time_pays_for_retries_too(clock: Clock) -> None:
    """A tenth of a retry per second, so a short failure long after an outage is retried."""
    budget = RetryBudget(clock=clock)
    spend(budget)
    clock.advance(9.0)
    assert not budget.withdraw()
    clock.advance(1.0)
    assert budget.withdraw()
    clock.advance(10_000.0)
    assert budget.balance == 100.0
    assert budget.is_full


def test_the_same_time_pays_once(clock: Clock) -> None:
    """However often the budget is used; reading the balance changes nothing."""
    budget = RetryBudget(10, deposit=0, refill=0.1, clock=clock)
    for _ in range(5):
        budget.withdraw()
    clock.advance(10)
    assert [budget.balance for _ in range(3)] == pytest.approx([6.0] * 3)
    for _ in range(3):
        budget.deposit()
    assert budget.balance == pytest.approx(6.0)
    assert budget.capacity == 10


def test_a_full_budget_gains_nothing_by_waiting(clock: Clock) -> None:
    """What exceeded the capacity is not added later."""
    budget = RetryBudget(2.0, refill=1.0, clock=clock)
    clock.advance(1000.0)
    assert budget.withdraw()
    assert budget.balance == 1.0
    clock.advance(0.5)
    assert budget.balance == 1.5


# One for each key


def test_each_key_has_a_budget_of_its_own(clock: Clock) -> None:
    """Forty services that are down do not use up the budget of another one."""
    budgets = Budgets(RetryBudget(2.0, deposit=0.0), clock)
    for dead in range(40):
        assert [budgets.withdraw(dead) for _ in range(3)] == [True, True, False]
    assert budgets.withdraw("payments")


def test_a_budget_is_kept_only_while_it_is_short(clock: Clock) -> None:
    """Without failures no budget is kept, and a success adds to none."""
    budgets = Budgets(RetryBudget(2.0, deposit=0.5), clock)
    budgets.deposit("a")
    assert not budgets.short
    budgets.withdraw("a")
    assert list(budgets.short) == ["a"]
    budgets.deposit("b")
    budgets.deposit("a")
    assert budgets.short["a"].balance == 1.5
    budgets.deposit("a")
    assert not budgets.short


def test_a_shared_budget_pays_for_every_key(clock: Clock) -> None:
    """The given object is used for this transport and any other."""
    purse = RetryBudget(2.0, deposit=0.5, shared=True, clock=clock)
    one, other = Budgets(purse, clock), Budgets(purse, clock)
    assert one.withdraw("a")
    assert other.withdraw("b")
    assert not one.withdraw("c")
    assert not one.can_afford("c")
    other.deposit("d")
    one.deposit("d")
    assert one.withdraw("a")
    assert one.short


def test_without_a_budget_retries_are_free(clock: Clock) -> None:
    """There is nothing to pay, and nothing to add."""
    budgets = Budgets(None, clock)
    assert all(budgets.withdraw("a") for _ in range(1000))
    assert budgets.can_afford("a")
    budgets.deposit("a")
    assert not budgets.short


def test_what_could_be_paid_for_is_known_without_paying(clock: Clock) -> None:
    """The check takes nothing, and makes no budget."""
    budgets = Budgets(RetryBudget(1.0, deposit=0.0), clock)
    assert budgets.can_afford("a")
    assert not budgets.short
    budgets.withdraw("a")
    assert not budgets.can_afford("a")


def test_budgets_go_by_the_clock_of_their_transport(clock: Clock) -> None:
    """The clock of the budget that they are copied from is not used."""
    budgets = Budgets(RetryBudget(1.0, refill=1.0, clock=lambda: 0.0), clock)
    assert budgets.withdraw("a")
    assert not budgets.withdraw("a")
    clock.advance(1.0)
    assert budgets.withdraw("a")


def test_those_that_have_refilled_make_room(clock: Clock) -> None:
    """The number is bounded while old ones refill; a budget that is short is never dropped."""
    budgets = Budgets(RetryBudget(2.0, refill=1.0), clock, max_keys=10)
    for key in range(100):
        clock.advance(0.25)
        budgets.withdraw(key)
        assert len(budgets.short) <= 10
    for key in range(100, 130):
        budgets.withdraw(key)
    assert len(budgets.short) >= 30


def test_a_retry_may_cost_more_or_less() -> None:
    """The cost depends on how much work the last attempt caused the service."""
    budget = RetryBudget(6.0, refused_cost=0.25, timeout_cost=5.0, clock=lambda: 0.0)
    assert budget.withdraw(5.0)
    assert not budget.withdraw(5.0)
    assert [budget.withdraw(0.25) for _ in range(5)] == [True] * 4 + [False]
    assert budget.balance == 0.0


@pytest.mark.parametrize(
    ("ended", "delivery", "cost"),
    [
        (httpx.Response(503), Delivery.ANSWERED, 1.0),
        (httpx.Response(429), Delivery.ANSWERED, 0.25),
        (httpx.ReadError("e"), Delivery.UNCERTAIN, 1.0),
        (httpx.ReadTimeout("e"), Delivery.UNCERTAIN, 5.0),
        (httpx2.ReadTimeout("e"), Delivery.UNCERTAIN, 5.0),
        (TimeLimitExceededError("api", 2.5), Delivery.UNCERTAIN, 5.0),
        (httpx.ConnectTimeout("e"), Delivery.NOT_SENT, 0.25),
        (httpx.ConnectError("e"), Delivery.NOT_SENT, 0.25),
        (WaitingRoomTimeoutError("api"), Delivery.NOT_SENT, 0.25),
    ],
)
def test_what_a_retry_costs_depends_on_the_last_attempt(
    ended: object, delivery: Delivery, cost: float
) -> None:
    """A service that refused a request had no work; after a timeout it may still be working."""
    clock = Clock()
    template = RetryBudget(10.0, refused_cost=0.25, timeout_cost=5.0)
    assert Budgets(template, clock).cost_after(ended, delivery) == cost
    assert Budgets(template.like(clock), clock).cost_after(ended, delivery) == cost
    assert Budgets(RetryBudget(), clock).cost_after(ended, delivery) == 1.0
    assert Budgets(None, clock).cost_after(ended, delivery) == 0.0


@pytest.mark.parametrize("costs", [{"refused_cost": 3.0}, {"timeout_cost": 3.0}])
def test_a_cost_that_no_balance_covers_is_refused(costs: dict[str, Any]) -> None:
    """Such a retry could never be paid."""
    with pytest.raises(ValueError, match="must be at most capacity"):
        RetryBudget(2.0, **costs)
