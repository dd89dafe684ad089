import pytest

from tests.support import Clock
from walltrack import CircuitBreaker, CircuitMode
from walltrack.circuit_breaker.ledger import Ledger
from walltrack.circuit_breaker.standing import Standing


@pytest.fixture
def ledger() -> Ledger:
    """A ledger without breakers."""
    return Ledger()


@pytest.fixture
def breaker(ledger: Ledger, clock: Clock) -> CircuitBreaker:
    """A breaker that opens at its second failure in a row."""
    return CircuitBreaker(2, clock=clock, ledger=ledger)


def test_a_new_one_is_clean_and_begins_in_the_ledgers_generation(clock: Clock) -> None:
    """A new breaker must not accept results that an evicted one would have ignored."""
    ledger = Ledger()
    ledger.floor = 7

    standing = Standing(ledger, clock, 30.0)

    assert (standing.generation, standing.cooldown_seconds, ledger.alert) == (7, 30.0, 0)
    assert standing.idle_for() == float("inf")


def test_a_closed_breaker_is_idle_since_its_last_request(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """While failures in a row are counted, each request restarts the idle time."""
    breaker.record_failure()
    clock.advance(5)
    assert breaker.idle_for() == 5.0

    breaker.acquire().release()

    assert breaker.idle_for() == 0.0


@pytest.mark.parametrize("mode", [CircuitMode.FORCED_OPEN, CircuitMode.DISABLED, "open"])
def test_a_breaker_that_must_be_kept_is_never_idle(breaker: CircuitBreaker, mode: str) -> None:
    """An open breaker, or one whose mode was set manually, must not be evicted."""
    if mode == CircuitMode.FORCED_OPEN:
        breaker.force_open()
    elif mode == CircuitMode.DISABLED:
        breaker.disable()
    else:
        breaker.record_failure()
        breaker.record_failure()

    assert breaker.idle_for() is None


def test_a_breaker_reports_each_change_once(breaker: CircuitBreaker, ledger: Ledger) -> None:
    """The ledger counts a troubled breaker once, however many failures it has."""
    breaker.record_failure()
    breaker.record_failure()
    assert ledger.alert == 1

    breaker.reset()
    breaker.reset()

    assert ledger.alert == 0


def test_results_in_flight_can_be_disowned(breaker: CircuitBreaker) -> None:
    """A request that began before is late from then on; one that begins later is not."""
    late = breaker.acquire()

    breaker.disown_results_in_flight()
    late.failure()
    assert breaker.failure_count == 0

    breaker.acquire().failure()
    assert breaker.failure_count == 1
