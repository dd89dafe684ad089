"""Drive two breakers that keep one ledger, and compare each with a naive model after every step.

The model knows no generations and no arithmetic on tickets: a call remembers the era, a plain
object, in which it began, and a result of another era is late.
"""

import math
from dataclasses import dataclass

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support import Clock
from walltrack import CircuitBreaker, CircuitBreakerOpenError, CircuitState, Permit
from walltrack.circuit_breaker.ledger import Ledger
from walltrack.core.outcome import Verdict

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

COOLDOWN = 8.0

AGES = st.sampled_from([0, 0, 0, 1, 2, 7])

PROFILE = settings(
    max_examples=200,
    stateful_step_count=40,
    phases=(Phase.generate, Phase.shrink),
)


class Model:
    """A circuit breaker, implemented as simply as possible."""

    def __init__(self, threshold: int, lasting: float) -> None:
        self.threshold = threshold
        self.lasting = lasting
        self.state = CLOSED
        self.row = 0
        self.row_since = -math.inf  # no success has been seen
        self.shut_until: float | None = None  # None: not shut
        self.good_headers = False
        self.probe_time = COOLDOWN
        self.era = object()

    def shut_for(self, now: float) -> float:
        return max(0.0, self.shut_until - now) if self.shut_until is not None else 0.0

    def visible_state(self, now: float) -> CircuitState:
        if self.state is CLOSED or self.shut_for(now) > 0.0:
            return self.state
        return CLOSED if self.good_headers else HALF_OPEN

    def begin(self, now: float) -> tuple[object | None, list[CircuitState]]:
        """The era of the new call, or None when it is refused; and the changes of state."""
        if self.shut_for(now) > 0.0:
            return None, []
        changes = self._lapse(now)
        if self.state is CLOSED:
            return self.era, changes
        if self.state is OPEN:
            changes.append(HALF_OPEN)
            self.probe_time = COOLDOWN
        elif self.shut_until is not None:  # its probe did not settle in time
            self.probe_time *= 2
        self.state = HALF_OPEN
        self.shut_until = now + self.probe_time
        self.era = object()
        return self.era, changes

    def headers(self, era: object) -> None:
        if era is self.era and self.state is HALF_OPEN:
            self.good_headers = True

    def end(self, era: object, verdict: Verdict, now: float) -> list[CircuitState]:
        if era is not self.era:
            return []
        changes = self._lapse(now)
        if verdict is Verdict.SUCCESS:
            changes += self._close()
        if verdict is Verdict.FAILURE:
            if self.row == 0 and self.row_since == math.inf:
                self.row_since = now
            self.row += 1
            is_long = self.row >= self.threshold and now - self.row_since >= self.lasting
            if self.state is HALF_OPEN or is_long:
                self.state = OPEN
                self.shut_until = now + COOLDOWN
                self.good_headers = False
                self.era = object()
                changes.append(OPEN)
        if verdict is Verdict.NONE and self.state is HALF_OPEN:
            self.shut_until = None
            self.good_headers = False
        return changes

    def _lapse(self, now: float) -> list[CircuitState]:
        if self.state is HALF_OPEN and self.good_headers and self.shut_for(now) == 0.0:
            return self._close()
        return []

    def _close(self) -> list[CircuitState]:
        changes = [] if self.state is CLOSED else [CLOSED]
        if self.row:
            self.row_since = math.inf
        self.state, self.row, self.shut_until, self.good_headers = CLOSED, 0, None, False
        return changes


@dataclass
class Pair:
    """A breaker and its model."""

    real: CircuitBreaker
    model: Model


@dataclass
class Call:
    """A call in flight, with a permit or a bare ticket."""

    pair: Pair
    era: object
    by: Permit | int


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin, get headers, end in any order and any way, while time passes."""

    @initialize(
        thresholds=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        lasting=st.sampled_from([0.0, 0.0, 1.0]),
    )
    def start(self, thresholds: tuple[int, int], lasting: float) -> None:
        self.clock = Clock(0.0)
        self.ledger = Ledger()
        self.calls: list[Call] = []
        self.settled: list[Permit] = []
        self.pairs = [
            Pair(
                CircuitBreaker(
                    threshold,
                    COOLDOWN,
                    failing_seconds=lasting,
                    clock=self.clock,
                    ledger=self.ledger,
                ),
                Model(threshold, lasting),
            )
            for threshold in thresholds
        ]

    # Calls begin

    @rule(which=st.integers(0, 1), callers=st.integers(1, 3))
    def admit(self, which: int, callers: int) -> None:
        pair = self.pairs[which]
        for _ in range(callers):
            era, changes = pair.model.begin(self.clock.now)
            admission = pair.real.admit()
            if era is None:
                assert admission is None
                continue
            assert admission is not None
            assert ([] if admission.became is None else [admission.became]) == changes
            self.calls.append(Call(pair, era, admission.ticket))

    @rule(which=st.integers(0, 1))
    def acquire(self, which: int) -> None:
        pair = self.pairs[which]
        era, _ = pair.model.begin(self.clock.now)
        if era is not None:
            self.calls.append(Call(pair, era, pair.real.acquire()))
            return
        with pytest.raises(CircuitBreakerOpenError) as refusal:
            pair.real.acquire()
        assert refusal.value.retry_after == pair.model.shut_for(self.clock.now)

    @precondition(lambda self: self.ledger.alert == 0)
    @rule(which=st.integers(0, 1))
    def begin_unseen(self, which: int) -> None:
        """Begin as a transport does when no breaker has to see a request: note only the epoch."""
        pair = self.pairs[which]
        era, changes = pair.model.begin(self.clock.now)
        assert era is not None
        assert changes == []
        self.calls.append(Call(pair, era, self.ledger.epoch))

    # Calls go on and end, mostly the newest first, so that those left behind end late

    @precondition(lambda self: self.calls)
    @rule(age=AGES)
    def headers_come(self, age: int) -> None:
        call = self.calls[-1 - age % len(self.calls)]
        if isinstance(call.by, int):  # a permit has no method for headers
            call.pair.model.headers(call.era)
            call.pair.real.answered(call.by)

    @precondition(lambda self: self.calls)
    @rule(age=AGES, verdict=st.sampled_from(Verdict))
    def settle(self, age: int, verdict: Verdict) -> None:
        call = self.calls.pop(-1 - age % len(self.calls))
        changes = call.pair.model.end(call.era, verdict, self.clock.now)
        if isinstance(call.by, int):
            assert call.pair.real.settle(call.by, verdict) == tuple(changes)
        else:
            tell(call.by, verdict)
            self.settled.append(call.by)

    @precondition(lambda self: self.settled)
    @rule(age=AGES, verdict=st.sampled_from(Verdict))
    def settle_again(self, age: int, verdict: Verdict) -> None:
        tell(self.settled[-1 - age % len(self.settled)], verdict)

    @rule(which=st.integers(0, 1), verdict=st.sampled_from([Verdict.SUCCESS, Verdict.FAILURE]))
    def record(self, which: int, verdict: Verdict) -> None:
        pair = self.pairs[which]
        era, _ = pair.model.begin(self.clock.now)
        if era is not None:
            pair.model.end(era, verdict, self.clock.now)
        if verdict is Verdict.SUCCESS:
            pair.real.record_success()
        else:
            pair.real.record_failure()

    # Random steps rarely reach the most important states, so there is a shortcut

    @rule(which=st.integers(0, 1), headers=st.booleans())
    def break_down_and_probe(self, which: int, *, headers: bool) -> None:
        for _ in range(self.pairs[which].model.threshold):
            self.record(which, Verdict.FAILURE)
        if lasting := self.pairs[which].model.lasting:
            self.clock.advance(lasting)
            self.record(which, Verdict.FAILURE)
        self.wait_for_the_boundary(which, just_before=False)
        self.admit(which, callers=2)
        if headers and self.calls:
            self.headers_come(age=0)

    # Time passes

    @rule(seconds=st.sampled_from([0.125, 1.0, COOLDOWN / 2, COOLDOWN, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(which=st.integers(0, 1), just_before=st.booleans())
    def wait_for_the_boundary(self, which: int, *, just_before: bool) -> None:
        boundary = self.pairs[which].model.shut_until
        if boundary is not None and boundary > self.clock.now:
            self.clock.now = math.nextafter(boundary, 0.0) if just_before else boundary

    # What must be true at all times

    @invariant()
    def breakers_are_as_the_models(self) -> None:
        now = self.clock.now
        for pair in self.pairs:
            assert pair.real.state is pair.model.visible_state(now)
            assert pair.real.failure_count == pair.model.row
            assert pair.real.shut_for() == pair.model.shut_for(now)
            assert pair.real.can_execute() is (pair.model.shut_for(now) == 0.0)

    @invariant()
    def the_ledger_is_on_the_alert_for_those_in_trouble(self) -> None:
        assert self.ledger.alert == sum(bool(pair.real.failure_count) for pair in self.pairs)


def tell(permit: Permit, verdict: Verdict) -> None:
    """Settle `permit`."""
    match verdict:
        case Verdict.SUCCESS:
            permit.success()
        case Verdict.FAILURE:
            permit.failure()
        case Verdict.NONE:
            permit.release()


def test_a_breaker_does_what_the_naive_model_does() -> None:
    """For any order of calls, headers, verdicts and times, breaker and model agree."""
    run_state_machine_as_test(BreakerMachine, settings=PROFILE)
