from tests.support import Clock
from walltrack import CircuitBreaker, CircuitState, CountWindow
from walltrack.circuit_breaker.ledger import Ledger

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

COOLDOWN = 30.0


def test_the_ledger_counts_the_breakers_that_are_not_clean(clock: Clock) -> None:
    """A breaker is on the alert from its first failure in a row until a success ends the row."""
    ledger = Ledger()
    one, other = (CircuitBreaker(2, clock=clock, ledger=ledger) for _ in range(2))

    def alert() -> int:
        assert ledger.alert == bool(one.failure_count) + bool(other.failure_count)
        return ledger.alert

    assert alert() == 0
    one.record_success()
    assert alert() == 0
    one.record_failure()
    assert alert() == 1
    one.record_failure()
    assert (one.state, alert()) == (OPEN, 1)
    other.record_failure()
    assert alert() == 2
    other.record_success()
    assert alert() == 1
    clock.advance(COOLDOWN)
    permit = one.acquire()
    assert (one.state, alert()) == (HALF_OPEN, 1)
    permit.success()
    assert alert() == 0


def test_a_row_that_begins_takes_the_next_epoch(clock: Clock) -> None:
    """Whoever noted the epoch while all was well sees that its success has something to tell."""
    ledger = Ledger()
    breaker = CircuitBreaker(2, clock=clock, ledger=ledger)
    noted = ledger.epoch

    breaker.record_failure()

    assert ledger.epoch > noted


def test_a_window_has_to_see_every_call(clock: Clock) -> None:
    """From the first breaker with a window on, the ledger is on the alert, once for them all."""
    ledger = Ledger()
    one, other = (
        CircuitBreaker(window=CountWindow(1, minimum_calls=1), clock=clock, ledger=ledger)
        for _ in range(2)
    )
    assert ledger.alert == 1

    one.record_failure()
    other.record_failure()
    assert ledger.alert == 3

    clock.advance(COOLDOWN)
    one.record_success()
    other.record_success()
    assert ledger.alert == 1


def test_what_others_have_to_learn_is_one_reason_for_alert() -> None:
    """However much it is; it is over once it was taken."""
    ledger = Ledger()
    ledger.share()
    ledger.share()
    breaker = CircuitBreaker(ledger=ledger)
    for _ in range(3):
        breaker.reset()
    assert ledger.alert == 1
    assert ledger.take_unsent() == [breaker] * 3
    assert ledger.alert == 0
    assert ledger.take_unsent() == []


def test_a_ledger_that_is_not_shared_keeps_nothing() -> None:
    """Nothing would ever take it."""
    ledger = Ledger()
    CircuitBreaker(ledger=ledger).reset()
    assert ledger.alert == 0
    assert ledger.take_unsent() == []
