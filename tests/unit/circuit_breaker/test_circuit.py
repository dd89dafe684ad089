"""What a breaker does with windows, slow calls, several probes and growing cooldowns.

Its other states are tested in test_breaker.py, and all of them in the tests with models.
"""

import math
from contextlib import suppress
from typing import Any

import pytest

from tests.support import Clock
from walltrack import Backoff, CircuitBreaker, CircuitState, CountWindow, TimeWindow
from walltrack.core.outcome import Verdict

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
SUCCESS, FAILURE, NONE = Verdict.SUCCESS, Verdict.FAILURE, Verdict.NONE

COOLDOWN = 30.0


class Lower:
    """Randomness that always yields the lower bound."""

    def uniform(self, a: float, b: float, /) -> float:
        del b
        return a


def admit(breaker: CircuitBreaker) -> int:
    """Get the ticket of one request, which must be admitted."""
    admission = breaker.admit()
    assert admission is not None
    return admission.ticket


def record(breaker: CircuitBreaker, calls: str) -> None:
    """Have calls settle at once: "." succeeds, "x" fails."""
    for call in calls:
        breaker.settle(admit(breaker), FAILURE if call == "x" else SUCCESS)


def half_open(clock: Clock, probes: int, rate: float = 1.0) -> CircuitBreaker:
    """A breaker whose cooldown has just ended."""
    breaker = CircuitBreaker(1, probes=probes, probe_success_rate=rate, clock=clock)
    breaker.record_failure()
    clock.advance(COOLDOWN)
    return breaker


# Windows


@pytest.mark.parametrize("window", [CountWindow(), TimeWindow()])
def test_half_of_the_calls_failing_opens_it(clock: Clock, window: CountWindow | TimeWindow) -> None:
    """Failures in a row are not needed, and do not open it before there are enough calls."""
    breaker = CircuitBreaker(window=window, clock=clock)
    record(breaker, "xxxxx....")
    assert (breaker.state, breaker.failure_count) == (CLOSED, 5)

    assert breaker.settle(admit(breaker), SUCCESS) == (OPEN,)
    assert (breaker.state, breaker.failure_count) == (OPEN, 5)


def test_failures_in_a_row_mean_nothing_to_a_window(clock: Clock) -> None:
    """Five failures in a row among a hundred calls are a rate of 5 %."""
    breaker = CircuitBreaker(1, window=CountWindow(), clock=clock)

    record(breaker, "." * 95 + "xxxxx")

    assert (breaker.state, breaker.failure_count) == (CLOSED, 5)


def test_a_call_without_verdict_is_not_seen_by_a_window(clock: Clock) -> None:
    """Cancelled calls neither fill the window nor improve its rates."""
    breaker = CircuitBreaker(window=CountWindow(2, minimum_calls=2), clock=clock)
    record(breaker, "x")
    for _ in range(5):
        assert breaker.settle(admit(breaker), NONE) == ()

    assert breaker.failure_count == 1
    record(breaker, ".")
    assert breaker.state is OPEN


def test_failures_grow_old_without_a_call(clock: Clock) -> None:
    """The count that is read is that of the window at the time of reading."""
    breaker = CircuitBreaker(window=TimeWindow(10.0), clock=clock)
    record(breaker, "xxx")
    assert breaker.failure_count == 3

    clock.advance(10.0)
    assert breaker.failure_count == 0
    record(breaker, "x")
    assert breaker.failure_count == 1


def test_a_breaker_that_recovered_begins_with_an_empty_window(clock: Clock) -> None:
    """The calls that opened it do not open it again."""
    breaker = CircuitBreaker(window=CountWindow(4, minimum_calls=2), clock=clock)
    record(breaker, "xx")
    clock.advance(COOLDOWN)
    record(breaker, ".")
    assert (breaker.state, breaker.failure_count) == (CLOSED, 0)

    record(breaker, "x")
    assert breaker.state is CLOSED
    record(breaker, "x")
    assert breaker.state is OPEN


def test_results_from_before_it_opened_are_late_for_its_window(clock: Clock) -> None:
    """They do not tell how the service is after its recovery."""
    breaker = CircuitBreaker(window=CountWindow(2, minimum_calls=2), clock=clock)
    early = [admit(breaker) for _ in range(5)]
    record(breaker, "xx")
    clock.advance(COOLDOWN)
    record(breaker, ".")

    for ticket in early:
        assert breaker.settle(ticket, FAILURE) == ()
    assert breaker.failure_count == 0


# Slow calls


def slow_breaker(clock: Clock) -> CircuitBreaker:
    """A breaker that two slow calls of four open, and nothing else."""
    window = CountWindow(
        4, minimum_calls=4, failure_rate=1.0, slow_call_seconds=2.0, slow_call_rate=0.5
    )
    return CircuitBreaker(window=window, clock=clock)


@pytest.mark.parametrize(("seconds", "opens"), [(2.0, False), (2.0 + 2**-20, True)])
def test_slow_calls_open_it(clock: Clock, seconds: float, *, opens: bool) -> None:
    """A call that takes exactly the limit is not slow, and one that takes longer is."""
    breaker = slow_breaker(clock)
    record(breaker, "..")
    for _ in range(2):
        ticket = admit(breaker)
        clock.advance(seconds)
        breaker.settle(ticket, SUCCESS)

    assert breaker.state is (OPEN if opens else CLOSED)
    assert breaker.failure_count == (2 if opens else 0)


@pytest.mark.parametrize("verdict", [SUCCESS, FAILURE])
def test_a_call_is_as_slow_as_its_headers(clock: Clock, verdict: Verdict) -> None:
    """The time until the headers counts; the time that the body takes does not."""
    breaker = slow_breaker(clock)
    slow, quick = admit(breaker), admit(breaker)
    breaker.answered(quick)
    clock.advance(3.0)
    breaker.answered(slow)
    breaker.settle(quick, SUCCESS)
    assert breaker.failure_count == 0

    breaker.settle(slow, verdict)
    assert breaker.failure_count == 1


def test_a_slow_probe_is_no_good_one(clock: Clock) -> None:
    """It opens the circuit again and is counted, but does not change `last_failure_time`."""
    breaker = slow_breaker(clock)
    record(breaker, "xxxx")
    failed = breaker.last_failure_time
    clock.advance(COOLDOWN)
    ticket = admit(breaker)
    clock.advance(2.5)

    assert breaker.settle(ticket, SUCCESS) == (OPEN,)
    assert (breaker.failure_count, breaker.last_failure_time) == (5, failed)


def test_slow_headers_are_not_good_ones(clock: Clock) -> None:
    """A probe with slow headers does not close the breaker after its time; it loses its place."""
    breaker = slow_breaker(clock)
    record(breaker, "xxxx")
    clock.advance(COOLDOWN)
    ticket = admit(breaker)
    clock.advance(2.5)
    breaker.answered(ticket)
    clock.advance(COOLDOWN)

    assert breaker.state is HALF_OPEN
    other = admit(breaker)
    assert [breaker.is_probe(t) for t in (ticket, other)] == [False, True]


# Cooldowns that grow


def test_the_cooldown_grows_while_probes_fail_and_begins_anew(clock: Clock) -> None:
    """Each failed probe doubles it up to the cap; a recovery resets it to the first value."""
    breaker = CircuitBreaker(1, cooldown=Backoff(base=5.0, cap=15.0), clock=clock)
    assert (breaker.cooldown_seconds, breaker.current_cooldown) == (5.0, 5.0)
    waits = []
    for call in "xxxx.x":
        record(breaker, call)
        if call == "x":
            waits.append(breaker.shut_for())
            assert breaker.current_cooldown == waits[-1]
            clock.advance(waits[-1])

    assert waits == [5.0, 10.0, 15.0, 15.0, 5.0]


def test_the_cooldown_can_be_spread(clock: Clock) -> None:
    """The jitter uses the given random source, and `current_cooldown` includes it."""
    growth = Backoff(base=8.0, cap=100.0, jitter="equal")
    breaker = CircuitBreaker(1, cooldown=growth, rng=Lower(), clock=clock)
    record(breaker, "x")
    assert breaker.shut_for() == breaker.current_cooldown == 4.0

    clock.advance(4.0)
    record(breaker, "x")
    assert breaker.shut_for() == breaker.current_cooldown == 8.0


def test_a_probes_time_does_not_grow_with_the_cooldown(clock: Clock) -> None:
    """However long the cooldown has become, a probe loses its place after the first cooldown."""
    breaker = CircuitBreaker(1, cooldown=Backoff(base=5.0, cap=60.0), clock=clock)
    for _ in range(3):
        record(breaker, "x")
        clock.advance(breaker.current_cooldown)
    admit(breaker)

    assert breaker.shut_for() == 5.0


@pytest.mark.parametrize("probes", [1, 3])
def test_a_service_that_is_slower_than_the_cooldown_closes_it(clock: Clock, probes: int) -> None:
    """Each answer takes five cooldowns, and ten callers come per cooldown."""
    breaker = CircuitBreaker(1, cooldown=1.0, probes=probes, clock=clock)
    record(breaker, "x")
    clock.advance(1.0)
    in_flight: list[tuple[float, int]] = []
    began = clock.now
    while breaker.state is not CLOSED:
        assert clock.now < began + 40.0
        while in_flight and in_flight[0][0] <= clock.now:
            breaker.settle(in_flight.pop(0)[1], SUCCESS)
        admission = breaker.admit()
        if admission is not None:
            in_flight.append((clock.now + 5.0, admission.ticket))
        clock.advance(0.1)


def test_a_failed_probe_makes_the_time_of_the_next_one_the_first_one_again(clock: Clock) -> None:
    """The service answers within the probe's time, though with a failure."""
    breaker = CircuitBreaker(1, cooldown=1.0, clock=clock)
    record(breaker, "x")
    for _ in range(2):
        clock.advance(1.0)
        last = admit(breaker)
    assert breaker.shut_for() == 2.0
    breaker.settle(last, FAILURE)
    clock.advance(1.0)
    admit(breaker)
    assert breaker.shut_for() == 1.0


def test_a_reset_makes_the_cooldown_the_first_one_again(clock: Clock) -> None:
    """It also discards the number of openings in a row."""
    breaker = CircuitBreaker(1, cooldown=Backoff(base=5.0, cap=60.0), clock=clock)
    for _ in range(3):
        record(breaker, "x")
        clock.advance(breaker.current_cooldown)
    breaker.reset()
    record(breaker, "x")

    assert breaker.shut_for() == 5.0


# Several probes


def test_so_many_probes_go_through_and_no_more(clock: Clock) -> None:
    """Each probe takes a place, whether it is in flight or settled."""
    breaker = half_open(clock, 3)
    first, second = admit(breaker), admit(breaker)
    breaker.settle(first, SUCCESS)
    third = admit(breaker)

    assert breaker.admit() is None
    assert breaker.state is HALF_OPEN
    assert breaker.settle(second, SUCCESS) == ()
    assert breaker.admit() is None
    assert breaker.settle(third, SUCCESS) == (CLOSED,)


@pytest.mark.parametrize(
    ("rate", "verdicts", "state"),
    [
        (1.0, "x", OPEN),
        (0.75, "x", HALF_OPEN),
        (0.75, "xx", OPEN),
        (0.75, "x..", HALF_OPEN),
        (0.75, "x...", CLOSED),
        (0.5, ".x", HALF_OPEN),
        (0.5, "..", CLOSED),
        (0.5, "xxx", OPEN),
        (0.01, "xxx", HALF_OPEN),
        (0.01, ".", CLOSED),
    ],
)
def test_the_needed_share_closes_and_an_impossible_one_opens(
    clock: Clock, rate: float, verdicts: str, state: CircuitState
) -> None:
    """Of four probes, as soon as enough have succeeded, or too many have failed."""
    breaker = half_open(clock, 4, rate)

    record(breaker, verdicts)

    assert breaker.state is state


def test_probes_under_way_when_it_closes_are_ordinary_calls(clock: Clock) -> None:
    """Each of their failures is one failure of a closed breaker."""
    breaker = half_open(clock, 2, 0.5)
    first, second = admit(breaker), admit(breaker)
    breaker.settle(first, SUCCESS)

    assert breaker.settle(second, FAILURE) == (OPEN,)  # its threshold is one
    assert breaker.failure_count == 1


def test_probes_under_way_when_it_opens_are_late(clock: Clock) -> None:
    """They neither close it nor count among later probes."""
    breaker = half_open(clock, 2)
    first, second = admit(breaker), admit(breaker)
    breaker.settle(first, FAILURE)
    clock.advance(COOLDOWN)
    record(breaker, ".")

    assert breaker.settle(second, SUCCESS) == ()
    assert breaker.state is HALF_OPEN


def test_a_place_without_verdict_is_free_again(clock: Clock) -> None:
    """The next caller takes it, and the other probes keep theirs."""
    breaker = half_open(clock, 2)
    first, second = admit(breaker), admit(breaker)
    breaker.settle(first, NONE)
    third = admit(breaker)

    assert breaker.admit() is None
    assert [breaker.is_probe(t) for t in (first, second, third)] == [False, True, True]


@pytest.mark.parametrize("again", list(Verdict))
def test_a_probe_that_settles_again_says_nothing(clock: Clock, again: Verdict) -> None:
    """A second verdict is ignored, and does not free the place of another probe."""
    breaker = half_open(clock, 2)
    first, second = admit(breaker), admit(breaker)
    breaker.settle(second, SUCCESS)

    assert breaker.settle(second, again) == ()
    assert (breaker.state, breaker.is_probe(first)) == (HALF_OPEN, True)


def test_each_probe_has_its_own_time(clock: Clock) -> None:
    """The oldest unanswered probe loses its place first, and its verdict no longer counts."""
    breaker = half_open(clock, 2)
    first = admit(breaker)
    clock.advance(10.0)
    second = admit(breaker)
    assert breaker.shut_for() == COOLDOWN - 10.0

    clock.advance(COOLDOWN - 10.0)
    third = admit(breaker)
    assert breaker.shut_for() == 10.0
    assert [breaker.is_probe(t) for t in (first, second, third)] == [False, True, True]
    assert breaker.settle(first, FAILURE) == ()
    assert breaker.settle(second, SUCCESS) == ()
    assert breaker.settle(third, SUCCESS) == (CLOSED,)
    assert breaker.settle(first, FAILURE) == ()


def test_streams_that_lapse_close_it_together(clock: Clock) -> None:
    """Good headers of enough probes close it when the time of the last of these probes ends."""
    breaker = half_open(clock, 2)
    first = admit(breaker)
    clock.advance(10.0)
    second = admit(breaker)
    for ticket in (first, second):
        breaker.answered(ticket)

    clock.advance(COOLDOWN - 10.0)
    assert (breaker.state, breaker.shut_for()) == (HALF_OPEN, 10.0)
    clock.now = math.nextafter(clock.now + 10.0, 0.0)
    assert breaker.state is HALF_OPEN
    clock.now = math.nextafter(clock.now, math.inf)
    assert breaker.state is CLOSED


def test_a_lapsed_stream_that_breaks_off_before_it_closes_is_a_bad_probe(clock: Clock) -> None:
    """While other probes have to succeed, its good headers can still become a failure."""
    breaker = half_open(clock, 2)
    stream = admit(breaker)
    breaker.answered(stream)
    clock.advance(COOLDOWN)

    assert breaker.settle(stream, FAILURE) == (OPEN,)


# Clocks and sources of randomness that raise


class Broken:
    """A clock, or a source of randomness, that raises while `raises` is set."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.raises = False

    def __call__(self) -> float:
        if self.raises:
            raise ZeroDivisionError
        return self.clock()

    def uniform(self, a: float, b: float, /) -> float:
        del b
        self()
        return a


@pytest.mark.parametrize("part", ["clock", "wall_clock", "rng"])
@pytest.mark.parametrize("verdict", [SUCCESS, FAILURE, NONE])
@pytest.mark.parametrize(("probes", "rate"), [(1, 1.0), (3, 0.5)])
def test_a_probe_whose_settling_raises_holds_no_place(
    clock: Clock, part: str, verdict: Verdict, probes: int, rate: float
) -> None:
    """Its place is free or the next request is a probe, so the breaker recovers at once."""
    broken = Broken(clock)
    options: dict[str, Any] = {part: broken}
    breaker = CircuitBreaker(
        1,
        cooldown=Backoff(base=COOLDOWN, cap=COOLDOWN, jitter="equal"),
        probes=probes,
        probe_success_rate=rate,
        **{"clock": clock, **options},
    )
    breaker.record_failure()
    clock.advance(COOLDOWN)
    tickets = [admit(breaker) for _ in range(probes)]

    broken.raises = True
    for ticket in tickets:
        with suppress(ZeroDivisionError):
            breaker.settle(ticket, verdict)
    broken.raises = False

    clock.advance(COOLDOWN)
    assert breaker.can_execute()
    for _ in range(probes):
        breaker.settle(admit(breaker), SUCCESS)
    assert breaker.state is CLOSED


def test_a_breaker_that_cannot_open_stays_as_it_was(clock: Clock) -> None:
    """The failure whose time could not be read is lost; the next one opens it."""
    broken = Broken(clock)
    breaker = CircuitBreaker(2, clock=broken)
    breaker.record_failure()
    ticket = admit(breaker)
    broken.raises = True
    with pytest.raises(ZeroDivisionError):
        breaker.settle(ticket, FAILURE)
    broken.raises = False
    assert breaker.state is CLOSED
    breaker.settle(ticket, FAILURE)
    assert breaker.state is OPEN
