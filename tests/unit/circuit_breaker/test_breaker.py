import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support import Clock
from walltrack import (
    Backoff,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitMode,
    CircuitState,
    CountWindow,
    Permit,
    TimeWindow,
)
from walltrack.circuit_breaker.ledger import Ledger
from walltrack.circuit_breaker.ticket import Admission
from walltrack.core.outcome import Verdict

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
SUCCESS, FAILURE, NONE = Verdict.SUCCESS, Verdict.FAILURE, Verdict.NONE

COOLDOWN = 30.0

SETTLE: dict[Verdict, Callable[[Permit], None]] = {
    SUCCESS: Permit.success,
    FAILURE: Permit.failure,
    NONE: Permit.release,
}


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """A closed breaker with the defaults."""
    return CircuitBreaker(clock=clock)


def trip(breaker: CircuitBreaker) -> None:
    """Open a closed breaker."""
    for _ in range(breaker.failure_threshold):
        breaker.record_failure()


def probe(breaker: CircuitBreaker, clock: Clock) -> int:
    """Open a closed breaker, let its cooldown pass, and take the ticket of its probe."""
    trip(breaker)
    clock.advance(breaker.cooldown_seconds)
    return admitted(breaker).ticket


def admitted(breaker: CircuitBreaker) -> Admission:
    """Get admission for one request, which must be granted."""
    admission = breaker.admit()
    assert admission is not None
    return admission


# What it starts with, and what it refuses


def test_a_new_breaker_is_closed_with_the_documented_defaults() -> None:
    """A breaker made without arguments is closed, opens after 5 failures, and cools down 30 s."""
    breaker = CircuitBreaker()

    assert (breaker.failure_threshold, breaker.cooldown_seconds) == (5, 30.0)
    assert breaker.service == "service"
    assert breaker.state is CLOSED
    assert breaker.failure_count == 0
    assert breaker.last_failure_time is None
    assert breaker.can_execute()
    assert breaker.shut_for() == 0.0
    assert breaker.failure_count == 0


def test_by_default_the_cooldown_is_measured_in_real_time() -> None:
    """A breaker without a clock argument measures its cooldown in real time."""
    breaker = CircuitBreaker(1)
    breaker.record_failure()

    assert 29.0 < breaker.shut_for() <= 30.0


def test_a_state_reads_as_its_name() -> None:
    """A state is plain lower-case text, in a log entry and in a comparison."""
    assert [str(state) for state in CircuitState] == ["closed", "open", "half_open"]


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"failure_threshold": 0}, ValueError, "failure_threshold"),
        ({"failure_threshold": -1}, ValueError, "failure_threshold"),
        ({"failure_threshold": 2.0}, TypeError, "failure_threshold"),
        ({"failure_threshold": True}, TypeError, "failure_threshold"),
        ({"failure_threshold": "5"}, TypeError, "failure_threshold"),
        ({"cooldown_seconds": 0}, ValueError, "cooldown_seconds"),
        ({"cooldown_seconds": -1.0}, ValueError, "cooldown_seconds"),
        ({"cooldown_seconds": math.nan}, ValueError, "cooldown_seconds"),
        ({"cooldown_seconds": math.inf}, ValueError, "cooldown_seconds"),
        ({"cooldown_seconds": "30"}, TypeError, "cooldown_seconds"),
    ],
)
def test_bad_numbers_are_refused_by_name(
    arguments: dict[str, float], error: type[Exception], named: str
) -> None:
    """An invalid threshold or cooldown is refused, and the message names it."""
    with pytest.raises(error, match=f"^{named} must be"):
        CircuitBreaker(**arguments)  # type: ignore[arg-type]  # wrong on purpose


# Closed


@pytest.mark.parametrize("threshold", [1, 2, 5])
def test_it_opens_at_the_last_of_so_many_failures_in_a_row(threshold: int) -> None:
    """One failure fewer than the threshold leaves it closed, and the next one opens it."""
    breaker = CircuitBreaker(threshold)

    for count in range(threshold):
        assert (breaker.state, breaker.failure_count) == (CLOSED, count)
        breaker.acquire().failure()

    assert (breaker.state, breaker.failure_count) == (OPEN, threshold)


def test_a_success_begins_the_row_anew(breaker: CircuitBreaker) -> None:
    """Four failures, a success and four failures more do not open it; the fifth in a row does."""
    for verdict in [FAILURE] * 4 + [SUCCESS] + [FAILURE] * 4:
        SETTLE[verdict](breaker.acquire())
    assert (breaker.state, breaker.failure_count) == (CLOSED, 4)

    breaker.acquire().failure()
    assert breaker.state is OPEN


def test_failures_within_a_moment_open_nothing_if_they_have_to_last(clock: Clock) -> None:
    """After a success, failures open it only once they have lasted; the first starts the time."""
    breaker = CircuitBreaker(3, failing_seconds=0.5, clock=clock)
    breaker.record_failure()
    breaker.record_success()
    for _ in range(50):
        breaker.record_failure()
    assert (breaker.state, breaker.failure_count) == (CLOSED, 50)
    breaker.record_success()
    clock.advance(0.5)
    breaker.record_failure()
    clock.advance(0.5)
    breaker.record_failure()
    assert breaker.state is CLOSED  # only two failures
    breaker.record_failure()
    assert breaker.state is OPEN


def test_what_never_worked_opens_at_once(clock: Clock) -> None:
    """Without an earlier success, failures do not have to last."""
    breaker = CircuitBreaker(3, failing_seconds=0.5, clock=clock)
    trip(breaker)
    assert breaker.state is OPEN


def test_a_call_without_verdict_neither_counts_nor_resets(breaker: CircuitBreaker) -> None:
    """A released permit leaves the number of failures in a row unchanged."""
    breaker.acquire().failure()
    breaker.acquire().release()

    assert (breaker.state, breaker.failure_count) == (CLOSED, 1)


def test_in_a_row_means_in_the_order_of_settling(breaker: CircuitBreaker) -> None:
    """A call that began first and is still in flight does not delay the count of later ones."""
    stream = breaker.acquire()
    for _ in range(4):
        breaker.acquire().failure()
    stream.success()

    assert (breaker.state, breaker.failure_count) == (CLOSED, 0)


# Open


@pytest.mark.parametrize(
    ("moment", "state", "let_through"),
    [
        (1000.0, OPEN, False),
        (math.nextafter(1030.0, 0.0), OPEN, False),
        (1030.0, HALF_OPEN, True),
        (1e9, HALF_OPEN, True),
    ],
)
def test_the_cooldown_ends_exactly_at_its_boundary(
    breaker: CircuitBreaker, clock: Clock, moment: float, state: CircuitState, *, let_through: bool
) -> None:
    """It refuses until the last instant before the end of the cooldown, and admits at the end."""
    trip(breaker)
    clock.now = moment

    assert breaker.state is state
    assert breaker.can_execute() is let_through
    assert (breaker.shut_for() == 0.0) is let_through
    assert (breaker.admit() is not None) is let_through


@pytest.mark.parametrize("refuse", [CircuitBreaker.acquire, CircuitBreaker.raise_if_open])
def test_an_open_breaker_says_whom_it_guards_and_for_how_long(
    clock: Clock, refuse: Callable[[CircuitBreaker], object]
) -> None:
    """A refusal carries the service and the seconds until the next probe."""
    breaker = CircuitBreaker(service="prices", clock=clock)
    trip(breaker)
    clock.advance(12.5)

    with pytest.raises(CircuitBreakerOpenError) as refusal:
        refuse(breaker)

    assert (refusal.value.service, refusal.value.retry_after) == ("prices", 17.5)


def test_each_refusal_is_an_object_of_its_own(breaker: CircuitBreaker) -> None:
    """Two refusals share no exception, so neither carries the other's traceback."""
    trip(breaker)

    with pytest.raises(CircuitBreakerOpenError) as first:
        breaker.acquire()
    with pytest.raises(CircuitBreakerOpenError) as second:
        breaker.acquire()

    assert first.value is not second.value


def test_nothing_is_refused_while_it_is_not_open(breaker: CircuitBreaker, clock: Clock) -> None:
    """`raise_if_open` passes when closed, and when half-open with the probe's place free."""
    breaker.raise_if_open()
    trip(breaker)
    clock.advance(COOLDOWN)
    breaker.raise_if_open()

    assert breaker.can_execute()


# Half-open


def test_half_open_lets_one_probe_through(breaker: CircuitBreaker, clock: Clock) -> None:
    """While the probe is in flight, all others are refused, for at most the cooldown."""
    trip(breaker)
    clock.advance(COOLDOWN)

    assert admitted(breaker).became is HALF_OPEN
    with pytest.raises(CircuitBreakerOpenError) as refusal:
        breaker.acquire()
    assert refusal.value.retry_after == COOLDOWN
    assert breaker.state is HALF_OPEN
    assert not breaker.can_execute()


def test_the_probes_success_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    """After a successful probe, requests are admitted and the failure count is reset to 0."""
    ticket = probe(breaker, clock)

    assert breaker.settle(ticket, SUCCESS) == (CLOSED,)
    assert (breaker.state, breaker.failure_count) == (CLOSED, 0)
    assert admitted(breaker).became is None


def test_the_probes_failure_opens_it_for_a_whole_cooldown(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """After a failed probe the cooldown starts again, whatever the number of failures before it."""
    ticket = probe(breaker, clock)
    clock.advance(10.0)

    assert breaker.settle(ticket, FAILURE) == (OPEN,)
    assert breaker.state is OPEN
    assert breaker.failure_count == 6
    assert breaker.shut_for() == COOLDOWN


@pytest.mark.parametrize("good_headers", [False, True])
def test_a_breaker_that_recovered_opens_again(
    breaker: CircuitBreaker, clock: Clock, *, good_headers: bool
) -> None:
    """However long ago it recovered, it takes five failures in a row to open it again."""
    ticket = probe(breaker, clock)
    if good_headers:
        breaker.answered(ticket)
    breaker.settle(ticket, SUCCESS)
    clock.advance(COOLDOWN * 2)

    for count in range(5):
        assert (breaker.state, breaker.failure_count) == (CLOSED, count)
        breaker.acquire().failure()

    assert breaker.state is OPEN


@pytest.mark.parametrize("good_headers", [False, True])
def test_a_probe_without_verdict_gives_its_place_back(
    breaker: CircuitBreaker, clock: Clock, *, good_headers: bool
) -> None:
    """The next caller becomes the probe at once, without a change of state."""
    ticket = probe(breaker, clock)
    if good_headers:
        breaker.answered(ticket)

    assert breaker.settle(ticket, NONE) == ()
    assert (breaker.state, breaker.can_execute()) == (HALF_OPEN, True)
    assert admitted(breaker).became is None
    assert breaker.admit() is None


def test_only_the_probe_in_flight_is_a_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    """A ticket from the closed state is not a probe, even when the breaker is half-open later."""
    early = admitted(breaker).ticket
    assert not breaker.is_probe(early)

    ticket = probe(breaker, clock)

    assert breaker.is_probe(ticket)
    assert not breaker.is_probe(early)


# A probe that does not settle in time


def test_a_probe_loses_its_place_exactly_after_a_cooldown(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """For one cooldown after the probe began others are refused; then another probe is admitted."""
    probe(breaker, clock)
    began = clock.now

    clock.now = math.nextafter(began + COOLDOWN, 0.0)
    assert breaker.admit() is None

    clock.now = began + COOLDOWN
    assert breaker.state is HALF_OPEN
    assert admitted(breaker).became is None
    assert breaker.admit() is None


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_replaced_probe_says_nothing_any_more(
    breaker: CircuitBreaker, clock: Clock, verdict: Verdict
) -> None:
    """Once another probe is in flight, the outcome of the lapsed one changes nothing."""
    lapsed = probe(breaker, clock)
    clock.advance(COOLDOWN)
    current = admitted(breaker).ticket

    breaker.answered(lapsed)
    assert breaker.settle(lapsed, verdict) == ()

    assert breaker.is_probe(current)
    assert breaker.shut_for() == 2 * COOLDOWN
    clock.advance(2 * COOLDOWN)
    assert breaker.state is HALF_OPEN


@pytest.mark.parametrize(
    ("verdict", "state"), [(SUCCESS, CLOSED), (FAILURE, OPEN), (NONE, HALF_OPEN)]
)
def test_a_lapsed_probe_that_was_not_replaced_still_counts(
    breaker: CircuitBreaker, clock: Clock, verdict: Verdict, state: CircuitState
) -> None:
    """A late verdict still counts as long as no other probe has begun."""
    ticket = probe(breaker, clock)
    clock.advance(COOLDOWN * 2)
    breaker.settle(ticket, verdict)

    assert breaker.state is state


def test_good_headers_are_the_success_of_a_probe_that_lapses(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """A long stream with good headers closes the breaker when the probe's time ends, not before."""
    breaker.answered(probe(breaker, clock))
    assert (breaker.state, breaker.admit()) == (HALF_OPEN, None)

    clock.advance(COOLDOWN)

    assert breaker.state is CLOSED
    assert breaker.can_execute()
    assert admitted(breaker).became is CLOSED
    assert admitted(breaker).became is None
    assert breaker.failure_count == 0


@pytest.mark.parametrize("others_came", [False, True])
def test_a_stream_that_outlived_its_probation_breaks_off_as_an_ordinary_failure(
    breaker: CircuitBreaker, clock: Clock, *, others_came: bool
) -> None:
    """It counts as one failure of a closed breaker, whether or not another call came in between."""
    ticket = probe(breaker, clock)
    breaker.answered(ticket)
    clock.advance(COOLDOWN)
    if others_came:
        breaker.acquire()

    assert breaker.settle(ticket, FAILURE) == (() if others_came else (CLOSED,))
    assert (breaker.state, breaker.failure_count) == (CLOSED, 1)


def test_an_ordinary_failure_opens_a_breaker_of_threshold_one(clock: Clock) -> None:
    """A stream that breaks off after its probe's time reports two changes: closed, then open."""
    breaker = CircuitBreaker(1, clock=clock)
    ticket = probe(breaker, clock)
    breaker.answered(ticket)
    clock.advance(COOLDOWN)

    assert breaker.settle(ticket, FAILURE) == (CLOSED, OPEN)
    assert (breaker.state, breaker.failure_count) == (OPEN, 1)
    assert breaker.shut_for() == COOLDOWN


@pytest.mark.parametrize("verdict", [SUCCESS, NONE])
def test_any_other_end_of_such_a_stream_leaves_it_closed(
    breaker: CircuitBreaker, clock: Clock, verdict: Verdict
) -> None:
    """A successful end, or a cancelled one, closes the breaker once."""
    ticket = probe(breaker, clock)
    breaker.answered(ticket)
    clock.advance(COOLDOWN)

    assert breaker.settle(ticket, verdict) == (CLOSED,)
    assert (breaker.state, breaker.failure_count) == (CLOSED, 0)


def test_a_probe_that_breaks_off_after_good_headers_opens_it(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """During the probe's time good headers are not a verdict, and a later failure replaces them."""
    ticket = probe(breaker, clock)
    breaker.answered(ticket)

    assert breaker.settle(ticket, FAILURE) == (OPEN,)
    clock.advance(COOLDOWN)
    assert breaker.state is HALF_OPEN


def test_good_headers_of_an_ordinary_request_mean_nothing(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """Headers of a request from the closed state do not count as those of a later probe."""
    breaker.answered(admitted(breaker).ticket)
    probe(breaker, clock)
    clock.advance(COOLDOWN)

    assert breaker.state is HALF_OPEN


# Late results


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("state", list(CircuitState))
def test_a_result_from_before_it_opened_changes_nothing(
    breaker: CircuitBreaker, clock: Clock, state: CircuitState, verdict: Verdict
) -> None:
    """A late result does not close an open breaker, free a probe's place or count later."""
    early = [breaker.acquire() for _ in range(5)]
    if state is OPEN:
        trip(breaker)
        clock.advance(10.0)
    else:
        ticket = probe(breaker, clock)
        if state is CLOSED:
            breaker.settle(ticket, SUCCESS)
    before = (breaker.state, breaker.failure_count, breaker.shut_for(), breaker.last_failure_time)

    for permit in early:
        SETTLE[verdict](permit)

    assert breaker.state is state
    assert before == (
        breaker.state,
        breaker.failure_count,
        breaker.shut_for(),
        breaker.last_failure_time,
    )


def test_results_of_another_breaker_with_the_same_ledger_stay_valid(clock: Clock) -> None:
    """When one breaker opens, results of another breaker are not late."""
    ledger = Ledger()
    one, other = (CircuitBreaker(2, clock=clock, ledger=ledger) for _ in range(2))
    ticket = admitted(other).ticket
    trip(one)

    other.settle(ticket, FAILURE)

    assert other.failure_count == 1


# Recording without permits


def test_recording_goes_through_the_whole_cycle(breaker: CircuitBreaker, clock: Clock) -> None:
    """Manual checks and recordings open it, probe, open it again, probe again and close it."""
    trip(breaker)
    assert not breaker.can_execute()

    clock.advance(COOLDOWN)
    breaker.record_failure()
    assert (breaker.state, breaker.shut_for()) == (OPEN, COOLDOWN)

    clock.advance(COOLDOWN)
    breaker.record_success()
    assert (breaker.state, breaker.failure_count) == (CLOSED, 0)


@pytest.mark.parametrize("half_open", [False, True])
@pytest.mark.parametrize("record", [CircuitBreaker.record_success, CircuitBreaker.record_failure])
def test_recording_changes_nothing_while_calls_are_refused(
    breaker: CircuitBreaker,
    clock: Clock,
    record: Callable[[CircuitBreaker], None],
    *,
    half_open: bool,
) -> None:
    """A result of a call that it would refuse neither closes it nor extends the cooldown."""
    trip(breaker)
    if half_open:
        clock.advance(COOLDOWN)
        breaker.acquire()
    state = breaker.state
    clock.advance(10.0)

    record(breaker)

    assert (breaker.state, breaker.failure_count, breaker.shut_for()) == (state, 5, 20.0)


def test_the_last_failure_is_in_utc(clock: Clock) -> None:
    """`last_failure_time` is the wall clock time of the latest failure, with its time zone."""
    wall = Clock(0.0)
    breaker = CircuitBreaker(clock=clock, wall_clock=wall)
    for moment in (60.0, 86400.0):
        wall.now = moment
        breaker.record_failure()

    told = breaker.last_failure_time

    assert told == datetime(1970, 1, 2, tzinfo=UTC)
    assert told is not None
    assert told.utcoffset() == timedelta(0)


@pytest.mark.parametrize("step", [-1e6, 1e6])
def test_steps_of_the_wall_clock_change_no_duration(clock: Clock, step: float) -> None:
    """Setting the wall clock neither shortens nor extends the cooldown."""
    wall = Clock(2e9)
    breaker = CircuitBreaker(clock=clock, wall_clock=wall)
    trip(breaker)
    wall.advance(step)

    assert breaker.shut_for() == COOLDOWN
    clock.advance(COOLDOWN)
    assert breaker.can_execute()


# Reading


@pytest.mark.parametrize("good_headers", [False, True])
def test_reading_changes_nothing(
    breaker: CircuitBreaker, clock: Clock, *, good_headers: bool
) -> None:
    """However often it is read, only a request makes a change of state and reports it."""
    ticket = probe(breaker, clock)
    if good_headers:
        breaker.answered(ticket)
    else:
        breaker.settle(ticket, FAILURE)
    clock.advance(COOLDOWN)

    for _ in range(3):
        assert breaker.state is (CLOSED if good_headers else HALF_OPEN)
        assert breaker.can_execute()
        assert breaker.shut_for() == 0.0
        assert repr(breaker)
        breaker.raise_if_open()

    assert admitted(breaker).became is (CLOSED if good_headers else HALF_OPEN)


def test_its_repr_tells_how_it_stands(breaker: CircuitBreaker, clock: Clock) -> None:
    """The repr shows the state, the failure count and how long the breaker stays open."""
    trip(breaker)
    clock.advance(12.5)

    assert repr(breaker) == "<CircuitBreaker open, failures 5/5, shut for 17.5 s>"


# Manual changes

BY_HAND: list[Callable[[CircuitBreaker], None]] = [
    CircuitBreaker.force_open,
    CircuitBreaker.disable,
    CircuitBreaker.observe_only,
    CircuitBreaker.reset,
]


def half_opened(breaker: CircuitBreaker, clock: Clock) -> None:
    """Have its probe in flight."""
    probe(breaker, clock)


def with_failures(breaker: CircuitBreaker, _clock: Clock) -> None:
    """Have four failures counted."""
    for _ in range(4):
        breaker.record_failure()


def opened(breaker: CircuitBreaker, _clock: Clock) -> None:
    """Open it."""
    trip(breaker)


@pytest.mark.parametrize("before", [with_failures, opened, half_opened])
def test_forced_open_it_refuses_until_the_mode_changes(
    breaker: CircuitBreaker, clock: Clock, before: Callable[[CircuitBreaker, Clock], None]
) -> None:
    """Neither time nor recorded successes close it; `reset` does."""
    before(breaker, clock)
    breaker.force_open()

    for _ in range(3):
        clock.advance(1e9)
        breaker.record_success()
        assert (breaker.mode, breaker.state) == (CircuitMode.FORCED_OPEN, OPEN)
        assert breaker.admit() is None
        assert breaker.shut_for() == math.inf
        with pytest.raises(CircuitBreakerOpenError) as refusal:
            breaker.acquire()
        assert refusal.value.retry_after == math.inf

    breaker.reset()
    assert (breaker.mode, breaker.state) == (CircuitMode.AUTOMATIC, CLOSED)
    assert breaker.can_execute()


@pytest.mark.parametrize("before", [with_failures, opened, half_opened])
def test_disabled_it_lets_everything_through_and_counts_nothing(
    breaker: CircuitBreaker, clock: Clock, before: Callable[[CircuitBreaker, Clock], None]
) -> None:
    """However many calls fail, begun before or after, it stays closed and counts nothing."""
    under_way = breaker.acquire()
    before(breaker, clock)
    told = breaker.last_failure_time
    breaker.disable()

    under_way.failure()
    for _ in range(20):
        breaker.acquire().failure()

    assert (breaker.mode, breaker.state) == (CircuitMode.DISABLED, CLOSED)
    assert (breaker.failure_count, breaker.shut_for()) == (0, 0.0)
    assert breaker.last_failure_time == told


def test_what_began_while_disabled_is_late_afterwards(breaker: CircuitBreaker) -> None:
    """A call that was not counted when it began is not counted when it ends."""
    breaker.disable()
    permit = breaker.acquire()
    breaker.reset()

    permit.failure()

    assert breaker.failure_count == 0
    breaker.record_failure()
    assert breaker.failure_count == 1


def test_observing_it_opens_and_refuses_nothing(breaker: CircuitBreaker, clock: Clock) -> None:
    """Its state goes through the whole cycle, and every call is admitted."""
    breaker.observe_only()
    assert breaker.mode is CircuitMode.OBSERVE_ONLY
    tickets = [admitted(breaker).ticket for _ in range(5)]
    assert [breaker.settle(ticket, FAILURE) for ticket in tickets] == [()] * 4 + [(OPEN,)]

    assert (breaker.state, breaker.failure_count) == (OPEN, 5)
    assert breaker.can_execute()
    breaker.raise_if_open()
    for verdict in (FAILURE, SUCCESS, NONE):  # a breaker that refuses would not have seen these
        assert breaker.settle(admitted(breaker).ticket, verdict) == ()
    assert (breaker.state, breaker.failure_count) == (OPEN, 5)

    clock.advance(COOLDOWN)
    assert breaker.state is HALF_OPEN
    first, second = admitted(breaker), admitted(breaker)
    assert (first.became, second.became) == (HALF_OPEN, None)
    assert [breaker.is_probe(a.ticket) for a in (first, second)] == [True, False]
    assert breaker.settle(second.ticket, FAILURE) == ()
    assert breaker.state is HALF_OPEN
    assert breaker.settle(first.ticket, SUCCESS) == (CLOSED,)


def test_observing_it_tells_when_a_probe_would_go(breaker: CircuitBreaker, clock: Clock) -> None:
    """Until the last instant of the cooldown the state is open, though no call is refused."""
    breaker.observe_only()
    trip(breaker)

    clock.now = math.nextafter(1000.0 + COOLDOWN, 0.0)
    assert (breaker.state, breaker.shut_for()) == (OPEN, 0.0)
    clock.now = 1000.0 + COOLDOWN
    assert (breaker.state, breaker.shut_for()) == (HALF_OPEN, 0.0)


@pytest.mark.parametrize("by_hand", BY_HAND)
@pytest.mark.parametrize("before", [with_failures, opened, half_opened])
@pytest.mark.parametrize("window", [None, CountWindow(4, minimum_calls=4), TimeWindow(30.0)])
def test_each_manual_change_clears_the_counts_and_makes_results_late(
    clock: Clock,
    window: CountWindow | TimeWindow | None,
    before: Callable[[CircuitBreaker, Clock], None],
    by_hand: Callable[[CircuitBreaker], None],
) -> None:
    """Whatever its state was and however calls in flight end, the counts start at 0."""
    breaker = CircuitBreaker(clock=clock, window=window)
    early = breaker.acquire()
    before(breaker, clock)
    ticket = admission.ticket if (admission := breaker.admit()) else None

    by_hand(breaker)
    state = breaker.state
    early.failure()
    if ticket is not None:
        breaker.answered(ticket)
        assert breaker.settle(ticket, FAILURE) == ()

    assert (breaker.failure_count, breaker.state) == (0, state)
    assert state is (OPEN if by_hand is CircuitBreaker.force_open else CLOSED)


def test_a_reset_breaker_is_as_good_as_new(breaker: CircuitBreaker) -> None:
    """After a reset it takes five failures in a row to open it, and not fewer."""
    trip(breaker)
    breaker.reset()

    with_failures(breaker, Clock())
    assert breaker.state is CLOSED
    breaker.record_failure()
    assert breaker.state is OPEN


@pytest.mark.parametrize("by_hand", BY_HAND)
def test_a_breaker_set_manually_is_not_clean(
    breaker: CircuitBreaker, by_hand: Callable[[CircuitBreaker], None]
) -> None:
    """While a mode is set, every request has to check it; `reset` ends this."""
    by_hand(breaker)
    assert breaker.ledger.alert == (breaker.mode is not CircuitMode.AUTOMATIC)
    by_hand(breaker)
    assert breaker.ledger.alert == (breaker.mode is not CircuitMode.AUTOMATIC)

    breaker.reset()
    assert breaker.ledger.alert == 0


@pytest.mark.parametrize(
    ("by_hand", "shown"),
    [
        (CircuitBreaker.force_open, "open (forced_open), failures 0/5"),
        (CircuitBreaker.disable, "closed (disabled), failures 0/5"),
        (CircuitBreaker.observe_only, "closed (observe_only), failures 0/5"),
        (CircuitBreaker.reset, "closed, failures 0/5"),
    ],
)
def test_its_repr_shows_the_mode(
    breaker: CircuitBreaker, by_hand: Callable[[CircuitBreaker], None], shown: str
) -> None:
    """The repr of a breaker shows that its mode was changed manually."""
    by_hand(breaker)

    assert repr(breaker) == f"<CircuitBreaker {shown}>"


def test_its_repr_shows_the_window(clock: Clock) -> None:
    """Closed, it shows the current counts; open, the counts that opened it; always its limits."""
    window = CountWindow(10, minimum_calls=4, slow_call_seconds=1.0, slow_call_rate=0.8)
    breaker = CircuitBreaker(window=window, clock=clock)
    for verdict in (SUCCESS, FAILURE, SUCCESS):
        SETTLE[verdict](breaker.acquire())
    thresholds = "opens at 50 % failures or 80 % slow of at least 4 calls"
    assert repr(breaker) == (
        f"<CircuitBreaker closed, failures 1 and slow 0 of 3 calls, {thresholds}>"
    )

    breaker.record_failure()
    assert repr(breaker) == f"<CircuitBreaker open, failures 2, {thresholds}, shut for 30.0 s>"


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"window": 100}, TypeError, "window"),
        ({"window": CountWindow}, TypeError, "window"),
        ({"cooldown": 0.0}, ValueError, "cooldown"),
        ({"cooldown": math.nan}, ValueError, "cooldown"),
        ({"cooldown": "30"}, TypeError, "cooldown"),
        ({"cooldown": None}, TypeError, "cooldown"),
        ({"cooldown": Backoff(base=0.0)}, ValueError, r"cooldown\.base"),
        ({"probes": 0}, ValueError, "probes"),
        ({"probes": 1.0}, TypeError, "probes"),
        ({"probe_success_rate": 0.0}, ValueError, "probe_success_rate"),
        ({"probe_success_rate": 1.1}, ValueError, "probe_success_rate"),
        ({"probe_success_rate": "1"}, TypeError, "probe_success_rate"),
    ],
)
def test_bad_options_are_refused_by_name(
    arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    """An invalid window, cooldown or number of probes is refused, and the message names it."""
    with pytest.raises(error, match=f"^{named} must be"):
        CircuitBreaker(**arguments)


def test_a_breaker_knows_since_when_it_is_what_it_is(clock: Clock) -> None:
    """It shows the wall clock time of the last change of state while it is not closed."""
    breaker = CircuitBreaker(1, 30, clock=clock, wall_clock=lambda: 1_000_000.0 + clock())
    begin = clock()

    def since() -> float | None:
        changed = breaker.since
        return None if changed is None else changed.timestamp() - 1_000_000.0 - begin

    assert since() is None
    clock.advance(1)
    breaker.record_failure()
    clock.advance(29)
    assert since() == pytest.approx(1)
    clock.advance(1)
    permit = breaker.acquire()  # a probe
    clock.advance(1)
    assert since() == pytest.approx(31)
    permit.success()
    assert since() is None
    breaker.force_open()
    assert since() == pytest.approx(32)
