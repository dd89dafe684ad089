"""Compare windows, probes, growing cooldowns and modes with models that only keep lists.

The first tests drive the windows alone. The machine drives two breakers that keep one ledger; its
model knows no tickets, no rings, no buckets to empty and no share of anything computed in floats: a
call remembers the era, a plain object, in which it began, and every question is answered by looking
at all that ever happened.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import Phase, given, settings
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
from walltrack import Backoff, CircuitBreaker, CircuitMode, CircuitState, CountWindow, TimeWindow
from walltrack.circuit_breaker.ledger import Ledger
from walltrack.core.outcome import Verdict

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
AUTOMATIC, FORCED_OPEN, DISABLED, OBSERVE_ONLY = CircuitMode

BASE, CAP = 8.0, 20.0
SLOW = 2.0

AGES = st.sampled_from([0, 0, 0, 1, 2, 7])

PROFILE = settings(
    max_examples=200,
    stateful_step_count=40,
    phases=(Phase.generate, Phase.shrink),
)

RATES = st.sampled_from([0.07, 0.1, 0.2, 0.3, 1 / 3, 0.5, 0.6, 0.7, 0.9, 1.0])


@dataclass(frozen=True)
class Past:
    """A call that has ended."""

    moment: float
    failed: bool
    slow: bool


def seen_by(window: CountWindow | TimeWindow, past: list[Past], now: float) -> list[Past]:
    """Those of `past` that are still in the window."""
    if isinstance(window, CountWindow):
        return past[-window.size :]
    width = window.seconds / window.buckets
    oldest = math.floor(now / width) - window.buckets
    return [call for call in past if math.floor(call.moment / width) > oldest]


def reaches(count: int, of: int, rate: float) -> bool:
    """Whether a share is at least a rate, with the rate read as a decimal, without rounding."""
    wanted = Fraction(1, 3) if rate == 1 / 3 else Fraction(str(rate))
    return Fraction(count, of) >= wanted


def too_much(window: CountWindow | TimeWindow, seen: list[Past]) -> bool:
    """Whether the counts in its window have to open a breaker."""
    failures, slow = sum(call.failed for call in seen), sum(call.slow for call in seen)
    return len(seen) >= window.minimum_calls and (
        reaches(failures, len(seen), window.failure_rate)
        or reaches(slow, len(seen), window.slow_call_rate)
    )


@st.composite
def count_windows(draw: st.DrawFn) -> CountWindow:
    """Small windows, so that they are often full."""
    size = draw(st.integers(1, 12))
    return CountWindow(
        size,
        failure_rate=draw(RATES),
        minimum_calls=draw(st.integers(1, size)),
        slow_call_seconds=draw(st.sampled_from([None, SLOW])),
        slow_call_rate=draw(RATES),
    )


@st.composite
def time_windows(draw: st.DrawFn) -> TimeWindow:
    """Short windows, of widths that floats represent exactly, and one that they do not."""
    return TimeWindow(
        draw(st.sampled_from([4.0, 16.0, 10.0])),
        draw(st.sampled_from([1, 2, 3, 4, 8])),
        failure_rate=draw(RATES),
        minimum_calls=draw(st.integers(1, 8)),
        slow_call_seconds=draw(st.sampled_from([None, SLOW])),
        slow_call_rate=draw(RATES),
    )


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 3.75, 4.0, 15.75, 16.0, 17.0, 1e4]),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


@given(window=st.one_of(count_windows(), time_windows()), steps=STEPS)
@settings(PROFILE)
def test_a_window_shows_what_a_list_shows(
    window: CountWindow | TimeWindow, steps: list[tuple[float, bool, bool]]
) -> None:
    """After every call and every jump of time, it counts and judges as a list would."""
    clock = Clock(0.0)
    tally = window.tally(clock)
    past: list[Past] = []
    for seconds, failed, slow in steps:
        clock.advance(seconds)
        tally.refresh()
        seen = seen_by(window, past, clock.now)
        assert tally.calls == len(seen)
        past.append(Past(clock.now, failed, slow))
        seen = seen_by(window, past, clock.now)
        assert tally.record(failed=failed, slow=slow) is too_much(window, seen)
        assert (tally.calls, tally.failures, tally.slow, tally.bad) == (
            len(seen),
            sum(call.failed for call in seen),
            sum(call.slow for call in seen),
            sum(call.failed or call.slow for call in seen),
        )


@given(steps=STEPS, buckets=st.sampled_from([1, 2, 4, 8, 16]))
@settings(PROFILE)
def test_a_time_window_is_exact_to_a_bucket(
    steps: list[tuple[float, bool, bool]], buckets: int
) -> None:
    """Calls younger than the window less one bucket are in it, those older than it are not."""
    clock, window = Clock(0.0), TimeWindow(16.0, buckets)
    tally = window.tally(clock)
    moments: list[float] = []
    for seconds, failed, slow in steps:
        clock.advance(seconds)
        moments.append(clock.now)
        tally.record(failed=failed, slow=slow)
        ages = [clock.now - moment for moment in moments]
        assert tally.calls >= sum(age <= 16.0 - 16.0 / buckets for age in ages)
        assert tally.calls <= sum(age < 16.0 for age in ages)


@dataclass(eq=False)
class Call:
    """A call in flight; a probe has a time limit."""

    era: object
    began: float
    until: float = math.inf
    took: float | None = None  # to its headers
    good_headers: bool = False
    verdict: bool | None = None  # of a probe: whether it succeeded


@dataclass
class Model:
    """A circuit breaker, implemented as simply as possible."""

    threshold: int
    window: CountWindow | TimeWindow | None
    growing: bool
    probes: int
    rate: float
    mode: CircuitMode = AUTOMATIC
    state: CircuitState = CLOSED
    failures: int = 0
    openings: int = 0
    due: float = 0.0
    era: object = field(default_factory=object)
    past: list[Past] = field(default_factory=list)
    places: list[Call] = field(default_factory=list)
    lost: int = 0  # probes that lost their places since it is half-open

    # What can be seen

    def passed(self, now: float) -> bool:
        good = sum(c.verdict is True or self._ripe(c, now) for c in self.places)
        return self.state is HALF_OPEN and reaches(good, self.probes, self.rate)

    def refuses(self, now: float) -> bool:
        """Whether a request would be refused in a mode that refuses."""
        if self.state is CLOSED or self.passed(now):
            return False
        if self.state is OPEN:
            return now < self.due
        return len(self.places) == self.probes and self._lapsed(now) is None

    def shut_for(self, now: float) -> float:
        if self.mode is FORCED_OPEN:
            return math.inf
        if self.mode is OBSERVE_ONLY:
            return 0.0
        moments = [now, self.due, *(call.until for call in self.places)]
        return min(t for t in moments if t >= now and not self.refuses(t)) - now

    def visible_state(self, now: float) -> CircuitState:
        if self.state is OPEN and now >= self.due:
            return HALF_OPEN
        return CLOSED if self.passed(now) else self.state

    def count(self, now: float) -> int:
        if self.window is None or self.state is not CLOSED:
            return self.failures
        return sum(call.failed or call.slow for call in seen_by(self.window, self.past, now))

    def is_clean(self) -> bool:
        return self.state is CLOSED and not self.failures and self.mode is AUTOMATIC

    # What happens

    def begin(self, now: float) -> tuple[Call | None, list[CircuitState]]:
        """The new call, or None when it is refused; and the changes of state."""
        if self.mode is FORCED_OPEN:
            return None, []
        if self.mode is DISABLED:
            return Call(None, now), []
        if self.refuses(now):
            return (Call(None, now) if self.mode is OBSERVE_ONLY else None), []
        changes = self._lapse(now)
        if self.state is CLOSED:
            return Call(self.era, now), changes
        if self.state is OPEN:
            self.state, self.era, self.places, self.lost = HALF_OPEN, object(), [], 0
            changes.append(HALF_OPEN)
        if len(self.places) == self.probes:
            self._make_room(now)
        call = Call(self.era, now, until=now + BASE * 2 ** (self.lost // self.probes))
        self.places.append(call)
        return call, changes

    def headers(self, call: Call, now: float) -> None:
        call.took = now - call.began
        if call in self.places and not self._slow(call, now):
            call.good_headers = True

    def end(self, call: Call, verdict: Verdict, now: float) -> list[CircuitState]:
        if call.era is not self.era:
            return []
        changes = self._lapse(now)
        if self.state is HALF_OPEN:
            return self._end_probe(call, verdict, now)
        if verdict is Verdict.NONE:
            return changes
        failed, slow = verdict is Verdict.FAILURE, self._slow(call, now)
        if self.window is not None:
            self.past.append(Past(now, failed, slow))
            seen = seen_by(self.window, self.past, now)
            if too_much(self.window, seen):
                self.failures = sum(c.failed or c.slow for c in seen)
                return changes + self._open(now)
            return changes
        self.failures = self.failures + 1 if failed else 0
        return changes + (self._open(now) if self.failures >= self.threshold else [])

    def _end_probe(self, call: Call, verdict: Verdict, now: float) -> list[CircuitState]:
        if verdict is Verdict.NONE:
            self.places.remove(call)
            return []
        call.verdict = verdict is Verdict.SUCCESS and not self._slow(call, now)
        self.failures += not call.verdict
        left = sum(c.verdict is not False for c in self.places) + self.probes - len(self.places)
        if not reaches(left, self.probes, self.rate):
            return self._open(now)
        return self._lapse(now)

    def by_hand(self, mode: CircuitMode) -> None:
        self.mode, self.era = mode, object()
        self.failures = self.openings = 0
        self.past, self.places = [], []
        self.state = OPEN if mode is FORCED_OPEN else CLOSED
        self.due = math.inf if mode is FORCED_OPEN else 0.0

    def _slow(self, call: Call, now: float) -> bool:
        if self.window is None or self.window.slow_call_seconds is None:
            return False
        took = now - call.began if call.took is None else call.took
        return took > self.window.slow_call_seconds

    def _ripe(self, call: Call, now: float) -> bool:
        return call.verdict is None and call.good_headers and call.until <= now

    def _lapsed(self, now: float) -> Call | None:
        """The oldest probe that has lost its place."""
        lost = (c for c in self.places if c.verdict is None and not c.good_headers)
        return next((call for call in lost if call.until <= now), None)

    def _make_room(self, now: float) -> None:
        lost = self._lapsed(now)
        assert lost is not None
        for call in self.places[: self.places.index(lost)]:
            if call.verdict is None:  # it had its time, and good headers
                call.verdict, call.era = True, None
        lost.era = None
        self.lost += 1
        self.places.remove(lost)

    def _lapse(self, now: float) -> list[CircuitState]:
        if not self.passed(now):
            return []
        self.state, self.failures, self.openings = CLOSED, 0, 0
        self.past, self.places = [], []
        return [CLOSED]

    def _open(self, now: float) -> list[CircuitState]:
        growth = 2**self.openings if self.growing else 1
        self.due = now + min(BASE * growth, CAP if self.growing else BASE)
        self.openings += 1
        self.state, self.era, self.places = OPEN, object(), []
        return [OPEN]


@dataclass
class Pair:
    """A breaker and its model."""

    real: CircuitBreaker
    model: Model


BY_HAND: dict[CircuitMode, Callable[[CircuitBreaker], None]] = {
    AUTOMATIC: CircuitBreaker.reset,
    FORCED_OPEN: CircuitBreaker.force_open,
    DISABLED: CircuitBreaker.disable,
    OBSERVE_ONLY: CircuitBreaker.observe_only,
}


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin, get headers, end in any order and any way, while time passes."""

    @initialize(
        threshold=st.integers(1, 3),
        window=st.one_of(st.none(), count_windows(), time_windows()),
        growing=st.booleans(),
        probes=st.integers(1, 4),
        rate=RATES,
    )
    def start(
        self,
        threshold: int,
        window: CountWindow | TimeWindow | None,
        probes: int,
        rate: float,
        *,
        growing: bool,
    ) -> None:
        self.clock = Clock(0.0)
        self.ledger = Ledger()
        self.windowed = window is not None
        self.calls: list[tuple[Pair, Call, int]] = []
        self.pairs = [
            Pair(
                CircuitBreaker(
                    threshold,
                    Backoff(base=BASE, factor=2.0, cap=CAP) if growing else BASE,
                    window=window,
                    probes=probes,
                    probe_success_rate=rate,
                    clock=self.clock,
                    ledger=self.ledger,
                ),
                Model(threshold, window, growing, probes, rate),
            )
            for _ in range(2)
        ]

    # Calls begin

    @rule(which=st.integers(0, 1), callers=st.integers(1, 4))
    def admit(self, which: int, callers: int) -> None:
        pair = self.pairs[which]
        for _ in range(callers):
            call, changes = pair.model.begin(self.clock.now)
            admission = pair.real.admit()
            if call is None:
                assert admission is None
                continue
            assert admission is not None
            assert ([] if admission.became is None else [admission.became]) == changes
            self.calls.append((pair, call, admission.ticket))

    @precondition(lambda self: self.ledger.alert == 0)
    @rule(which=st.integers(0, 1))
    def begin_unseen(self, which: int) -> None:
        """Begin as a transport does when no breaker has to see a request: note only the epoch."""
        pair = self.pairs[which]
        call, changes = pair.model.begin(self.clock.now)
        assert call is not None
        assert changes == []
        self.calls.append((pair, call, self.ledger.epoch))

    # Calls go on and end, mostly the newest first, so that those left behind end late

    @precondition(lambda self: self.calls)
    @rule(age=AGES)
    def headers_come(self, age: int) -> None:
        pair, call, ticket = self.calls[-1 - age % len(self.calls)]
        if call.took is None:
            pair.model.headers(call, self.clock.now)
            pair.real.answered(ticket)

    @precondition(lambda self: self.calls)
    @rule(age=AGES, verdict=st.sampled_from(Verdict))
    def settle(self, age: int, verdict: Verdict) -> None:
        pair, call, ticket = self.calls.pop(-1 - age % len(self.calls))
        changes = pair.model.end(call, verdict, self.clock.now)
        assert pair.real.settle(ticket, verdict) == tuple(changes)

    @rule(which=st.integers(0, 1), verdict=st.sampled_from([Verdict.SUCCESS, Verdict.FAILURE]))
    def record(self, which: int, verdict: Verdict) -> None:
        pair = self.pairs[which]
        call, _ = pair.model.begin(self.clock.now)
        if call is not None:
            pair.model.end(call, verdict, self.clock.now)
        if verdict is Verdict.SUCCESS:
            pair.real.record_success()
        else:
            pair.real.record_failure()

    # Random steps rarely reach the most important states, so there is a shortcut

    @rule(which=st.integers(0, 1), probes=st.integers(1, 4), headers=st.integers(0, 3))
    def break_down_and_probe(self, which: int, probes: int, headers: int) -> None:
        for _ in range(20):
            self.record(which, Verdict.FAILURE)
        self.wait_for_the_boundary(which, just_before=False)
        self.admit(which, probes)
        for age in range(min(headers, len(self.calls))):
            self.headers_come(age)

    @rule(which=st.integers(0, 1), mode=st.sampled_from([AUTOMATIC, *CircuitMode]))
    def by_hand(self, which: int, mode: CircuitMode) -> None:
        self.pairs[which].model.by_hand(mode)
        BY_HAND[mode](self.pairs[which].real)

    # Time passes

    @rule(seconds=st.sampled_from([0.125, 1.0, SLOW, SLOW + 0.125, BASE / 2, BASE, 17.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(which=st.integers(0, 1), just_before=st.booleans())
    def wait_for_the_boundary(self, which: int, *, just_before: bool) -> None:
        model = self.pairs[which].model
        ahead = [model.due, *(call.until for call in model.places)]
        ahead = [moment for moment in ahead if self.clock.now < moment < math.inf]
        if model.state is not CLOSED and ahead:
            boundary = min(ahead)
            self.clock.now = math.nextafter(boundary, 0.0) if just_before else boundary

    # What must be true at all times

    @invariant()
    def breakers_are_as_the_models(self) -> None:
        now = self.clock.now
        for pair in self.pairs:
            shut_for = pair.model.shut_for(now)
            assert pair.real.mode is pair.model.mode
            assert pair.real.state is pair.model.visible_state(now)
            assert pair.real.failure_count == pair.model.count(now)
            assert pair.real.shut_for() == shut_for
            assert pair.real.can_execute() is (shut_for == 0.0)

    @invariant()
    def the_ledger_is_on_the_alert_for_those_in_trouble(self) -> None:
        troubled = sum(not pair.model.is_clean() for pair in self.pairs)
        assert self.ledger.alert == troubled + self.windowed


def test_breakers_with_windows_probes_and_modes_do_what_the_naive_model_does() -> None:
    """For any order of calls, headers, verdicts, manual changes and times, both agree."""
    run_state_machine_as_test(BreakerMachine, settings=PROFILE)
