from tests.support import Clock
from walltrack import CircuitBreaker, CircuitState, CountWindow
from walltrack.core.outcome import Verdict

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def breaker(clock: Clock, probes: int = 1) -> CircuitBreaker:
    """The breaker under test."""
    return CircuitBreaker(3, 30.0, probes=probes, clock=clock)


def test_it_opens_as_the_fleet_does(clock: Clock) -> None:
    """It takes over the failure count and the end of the fleet's opening, and reports it once."""
    circuit = breaker(clock)
    assert circuit.open_for(12.0, openings=2, failures=7) == (OPEN,)
    assert circuit.open_for(13.0, openings=2, failures=7) == ()
    assert (circuit.state, circuit.failure_count) == (OPEN, 7)
    assert circuit.shut_for() == circuit.current_cooldown == 13.0


def test_results_from_before_it_opened_are_late(clock: Clock) -> None:
    """The same holds when it opens by itself."""
    circuit = breaker(clock)
    permit = circuit.acquire()
    circuit.open_for(12.0, openings=1, failures=1)
    permit.success()
    assert circuit.state is OPEN


def test_it_closes_as_the_fleet_does(clock: Clock) -> None:
    """The failure count starts at 0."""
    circuit = breaker(clock)
    circuit.open_for(12.0, openings=1, failures=9)
    assert circuit.close() == (CLOSED,)
    assert circuit.close() == ()
    assert circuit.failure_count == 0


def test_its_own_probe_is_late_when_the_fleet_closes(clock: Clock) -> None:
    """The verdict of another process came first."""
    circuit = breaker(clock)
    circuit.open_for(12.0, openings=1, failures=3)
    clock.advance(12.0)
    probe = circuit.acquire()
    circuit.close()
    probe.failure()
    assert circuit.failure_count == 0


def test_it_waits_for_the_probe_of_another_process(clock: Clock) -> None:
    """Its own lapsed probe no longer counts; the state stays half-open."""
    circuit = breaker(clock)
    circuit.open_for(12.0, openings=1, failures=3)
    clock.advance(12.0)
    lost = circuit.acquire()
    circuit.wait_for(0.5)
    lost.success()
    assert not circuit.can_execute()
    assert (circuit.state, circuit.shut_for(), circuit.is_probing) == (HALF_OPEN, 0.5, False)
    clock.advance(0.5)
    assert circuit.wants_probe()
    admission = circuit.admit()
    assert admission is not None
    assert admission.became is None  # it was half-open before
    assert circuit.settle(admission.ticket, Verdict.SUCCESS) == (CLOSED,)


def test_a_waiting_circuit_does_not_disown_twice(clock: Clock) -> None:
    """Extending the wait is not a change of state."""
    circuit = breaker(clock)
    circuit.open_for(0.0, openings=1, failures=3)
    before = circuit.snapshot()
    circuit.wait_for(0.5)
    assert circuit.snapshot() == before


def test_it_wants_a_probe_when_its_cooldown_is_over(clock: Clock) -> None:
    """Neither before nor while a probe is in flight, nor after good headers decided."""
    circuit = breaker(clock)
    assert not circuit.wants_probe()
    circuit.open_for(12.0, openings=1, failures=3)
    assert not circuit.wants_probe()
    clock.advance(12.0)
    assert circuit.wants_probe()
    admission = circuit.admit()
    assert admission is not None
    assert not circuit.wants_probe()
    circuit.answered(admission.ticket)
    clock.advance(30.0)
    assert not circuit.wants_probe()


def test_a_probation_is_untouched_until_a_probe_has_a_verdict(clock: Clock) -> None:
    """Until then another process can take it over without losing a verdict."""
    circuit = breaker(clock, probes=2)
    assert not circuit.is_probation_untouched
    circuit.open_for(0.0, openings=1, failures=3)
    probe = circuit.acquire()
    assert not circuit.is_probation_untouched
    probe.release()
    assert circuit.is_probation_untouched
    circuit.acquire().success()
    assert not circuit.is_probation_untouched


def test_a_window_counts_nothing_in_a_row() -> None:
    """Its rates are those of one process."""
    assert CircuitBreaker().counts_in_row
    assert not CircuitBreaker(window=CountWindow()).counts_in_row
