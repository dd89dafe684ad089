"""Drive the members of a fleet over a network that loses, delays and reorders what they report."""

from collections.abc import Iterable
from dataclasses import dataclass, field

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

from tests.fleet.fake_store import FakeStore
from tests.support import Clock
from walltrack import CircuitBreaker, CircuitState
from walltrack.circuit_breaker.member import ASK_AGAIN, Member
from walltrack.core.outcome import Verdict
from walltrack.core.shared_state import CircuitReport, CircuitView, SharedCircuitState

NAME = "circuit"
COOLDOWN = 8.0
WAYS = {
    (CircuitState.CLOSED, CircuitState.OPEN),
    (CircuitState.OPEN, CircuitState.HALF_OPEN),
    (CircuitState.OPEN, CircuitState.CLOSED),
    (CircuitState.HALF_OPEN, CircuitState.OPEN),
    (CircuitState.HALF_OPEN, CircuitState.CLOSED),
}
MEMBERS = st.integers(0, 2)
LATEST_FIRST = st.sampled_from([0, 0, 0, 1, 2])

PROFILE = settings(
    max_examples=150,
    stateful_step_count=50,
    phases=(Phase.generate, Phase.shrink),
)


@dataclass
class Call:
    """A request in flight, and the generation of the lease with which it was sent."""

    ticket: int
    lease: int


@dataclass
class Process:
    """One process: its member, its requests, and its report in flight."""

    member: Member
    calls: list[Call] = field(default_factory=list)
    report: CircuitReport | None = None
    asked_at: float = 0.0
    answer: CircuitView | None = None
    waits: bool = False  # a request waits for the answer
    reported: CircuitState = CircuitState.CLOSED  # where the changes that it reports have led

    @property
    def breaker(self) -> CircuitBreaker:
        """Its breaker."""
        return self.member.breaker

    def report_all(self, states: Iterable[CircuitState | None]) -> None:
        """Report the changes to these states, as `Settling` does: each from where it was."""
        for state in states:
            if state is not None:
                assert (self.reported, state) in WAYS
                self.reported = state

    @property
    def lease(self) -> int:
        """The lease that the process relies on; 0 if it has none."""
        return self.member._lease if self.member._has_lease() else 0  # noqa: SLF001 - is it sure?


class FleetMachine(RuleBasedStateMachine):
    """Requests begin and end in three processes, while their reports are in flight."""

    @initialize(threshold=st.integers(1, 4))
    def start(self, threshold: int) -> None:
        self.clock = Clock(0.0)
        self.store = FakeStore(self.clock)
        self.late: list[CircuitReport] = []  # timed out, and yet to arrive
        self.threshold = threshold
        self.processes = [self.process() for _ in range(3)]

    def process(self) -> Process:
        """A process that has just started."""
        breaker = CircuitBreaker(self.threshold, COOLDOWN, clock=self.clock)
        return Process(Member(breaker, NAME, self.clock))

    # Requests

    @rule(which=MEMBERS)
    def begin(self, which: int) -> None:
        process = self.processes[which]
        if process.report is None:
            process.waits = True
            self.talk(process)

    @precondition(lambda self: any(process.calls for process in self.processes))
    @rule(which=MEMBERS, age=LATEST_FIRST, verdict=st.sampled_from(Verdict))
    def end(self, which: int, age: int, verdict: Verdict) -> None:
        process = self.processes[which]
        if process.calls:
            call = process.calls.pop(-1 - age % len(process.calls))
            process.report_all(process.breaker.settle(call.ticket, verdict))
            if process.report is None:
                self.talk(process)

    @rule(which=MEMBERS)
    def break_down(self, which: int) -> None:
        """A shortcut to an open circuit, which random steps rarely reach."""
        process = self.processes[which]
        for _ in range(process.breaker.failure_threshold):
            self.begin(which)
            self.deliver(which)
            self.hear(which)
            self.end(which, age=0, verdict=Verdict.FAILURE)

    @rule(which=MEMBERS, verdict=st.sampled_from(Verdict))
    def probe(self, which: int, verdict: Verdict) -> None:
        """A shortcut to a half-open circuit, whose probe ends soon."""
        self.clock.advance(COOLDOWN)
        self.begin(which)
        self.deliver(which)
        self.hear(which)
        self.end(which, age=0, verdict=verdict)

    # Reports

    @rule(which=MEMBERS)
    def deliver(self, which: int) -> None:
        process = self.processes[which]
        if process.report is not None and process.answer is None:
            process.answer = self.store.apply(NAME, process.report)

    @rule(which=MEMBERS)
    def hear(self, which: int) -> None:
        process = self.processes[which]
        if process.answer is not None:
            answer, process.answer, process.report = process.answer, None, None
            process.report_all(process.member.follow(process.asked_at, answer))
            self.talk(process)

    @rule(which=MEMBERS)
    def lose(self, which: int) -> None:
        process = self.processes[which]
        if process.report is not None:
            if process.answer is None:
                self.late.append(process.report)
            process.report = process.answer = None
            process.member.continue_alone()
            self.send(process)

    @rule(which=MEMBERS)
    def die(self, which: int) -> None:
        """Kill the process with all that is in flight, and start it again."""
        process, self.processes[which] = self.processes[which], self.process()
        if process.report is not None and process.answer is None:
            self.late.append(process.report)

    @precondition(lambda self: self.late)
    @rule(age=LATEST_FIRST)
    def arrive_late(self, age: int) -> None:
        self.store.apply(NAME, self.late.pop(-1 - age % len(self.late)))

    @rule(seconds=st.sampled_from([0.125, ASK_AGAIN, 1.0, COOLDOWN / 2, COOLDOWN]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def talk(self, process: Process) -> None:
        """Send the next report, or else the waiting request."""
        process.report = process.member.next_report(ask=process.waits)
        process.asked_at = self.clock.now
        if process.report is None:
            self.send(process)

    def send(self, process: Process) -> None:
        """Send the waiting request, if the breaker admits it."""
        if process.waits:
            process.waits = False
            lease = process.lease
            admission = process.breaker.admit()
            if admission is not None:
                process.report_all([admission.became])
                probes = process.breaker.is_probe(admission.ticket)
                process.calls.append(Call(admission.ticket, lease if probes else 0))

    # What must be true at all times

    @invariant()
    def there_is_one_lease_at_most(self) -> None:
        assert sum(process.lease != 0 for process in self.processes) <= 1

    @invariant()
    def each_lease_has_one_probe_at_most(self) -> None:
        leases = [
            call.lease
            for process in self.processes
            for call in process.calls
            if call.lease and process.breaker.is_probe(call.ticket)
        ]
        assert len(leases) == len(set(leases))

    @invariant()
    def no_circuit_is_shut_for_longer_than_a_cooldown_or_its_probe(self) -> None:
        for process in self.processes:
            assert process.breaker.is_probing or process.breaker.shut_for() <= COOLDOWN

    @invariant()
    def no_change_of_state_is_left_unreported(self) -> None:
        for process in self.processes:
            assert process.breaker.snapshot().state is process.reported

    def teardown(self) -> None:
        """After a cooldown and a lease, one success closes every circuit."""
        if not hasattr(self, "processes"):
            return
        for which, process in enumerate(self.processes):
            self.lose(which)
            process.calls.clear()
        self.recover()
        if self.store.circuits[NAME].state is SharedCircuitState.OPEN:
            self.recover()  # failures that had yet to be reported have opened it
        assert {process.breaker.state for process in self.processes} == {CircuitState.CLOSED}

    def recover(self) -> None:
        """Let every call succeed after the cooldown and the lease."""
        lease = self.store.circuits[NAME].lasts
        probe = max(process.breaker.shut_for() for process in self.processes)
        self.clock.advance(max(lease, probe, COOLDOWN))
        for _ in range(2):
            for which, process in enumerate(self.processes):
                self.begin(which)
                self.answer_all(which)
                for _call in tuple(process.calls):
                    self.end(which, age=0, verdict=Verdict.SUCCESS)
                    self.answer_all(which)
            self.clock.advance(ASK_AGAIN)

    def answer_all(self, which: int) -> None:
        """Let the reports of a process arrive at once, as they usually do."""
        for _ in range(9):
            self.deliver(which)
            self.hear(which)
        assert self.processes[which].report is None


def test_no_network_brings_a_fleet_out_of_step() -> None:
    """There is at most one lease, no circuit stays open, and a success closes all of them."""
    run_state_machine_as_test(FleetMachine, settings=PROFILE)
