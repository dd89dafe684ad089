from tests.support import Clock
from walltrack import CircuitBreaker, CircuitState, CountWindow
from walltrack.circuit_breaker.ledger import Ledger

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

COOLDOWN = 30.0


def test_the_ledger_counts_the_breakers_that_are_not_clean(clock: Clock) -> None:
    """A breaker raises the alert from its first failure in a row until a success."""
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
    """A call that noted the earlier epoch can tell that its success has to be counted."""
    ledger = Ledger()
    breaker = CircuitBreaker(2, clock=clock, ledger=ledger)
    noted = ledger.epoch

    breaker.record_failure()

    assert ledger.epoch > noted


def test_a_window_has_to_see_every_call(clock: Clock) -> None:
    """The first breaker with a window raises the alert by one, for all with a window."""
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
    """The alert is raised by one for all unsent changes, until they are taken."""
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
    """No one would take the unsent changes."""
    ledger = Ledger()
    CircuitBreaker(ledger=ledger).reset()
    assert ledger.alert == 0
    assert ledger.take_unsent() == []
