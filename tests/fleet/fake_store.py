"""A store in memory that keeps to the contract of `SharedState`, for simulated processes.

It is written from the docstrings of the contract, not from the scripts of the real store.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from walltrack.core.shared_state import (
    CircuitAct,
    CircuitReport,
    CircuitView,
    ManualSetting,
    Pace,
    SharedCircuitState,
    TokenLease,
)

CLOSED, OPEN, HALF_OPEN = SharedCircuitState


@dataclass
class Circuit:
    """One circuit of the fleet; times are on the clock of the store."""

    state: SharedCircuitState = CLOSED
    generation: int = 0
    changed_at: float = 0.0
    until: float = 0.0
    lasts: float = 0.0
    openings: int = 0
    failures: int = 0
    failed_at: float = 0.0


@dataclass
class Rate:
    """One rate of the fleet."""

    next_at: float = 0.0  # when the bucket will be full again
    held_until: float = 0.0


@dataclass
class FakeStore:
    """Answers at once, unless it is `lost`."""

    clock: Callable[[], float]
    refresh: float = 10.0
    lost: bool = False
    commands: int = 0
    circuits: dict[str, Circuit] = field(default_factory=lambda: defaultdict(Circuit))
    rates: dict[str, Rate] = field(default_factory=lambda: defaultdict(Rate))
    settings: dict[str, ManualSetting] = field(default_factory=dict)

    async def report(self, name: str, report: CircuitReport, /) -> CircuitView | None:
        self.commands += 1
        return None if self.lost else self.apply(name, report)

    def apply(self, name: str, report: CircuitReport) -> CircuitView:
        """Apply a report, and return the circuit."""
        circuit, now = self.circuits[name], self.clock()
        granted = self._act(circuit, report, now)
        left = 0.0 if circuit.state is CLOSED else max(0.0, circuit.until - now)
        return CircuitView(
            circuit.state, circuit.generation, left, circuit.openings, circuit.failures, granted
        )

    def _act(self, circuit: Circuit, report: CircuitReport, now: float) -> bool:
        knows = circuit.generation in {0, report.generation}
        late = not knows and now - circuit.changed_at < report.memory
        holds = circuit.state is HALF_OPEN and report.lease == circuit.generation
        over = circuit.state is not CLOSED and circuit.until <= now
        match report.act:
            case CircuitAct.FAILED if circuit.state is CLOSED and not late:
                if now - circuit.failed_at > report.memory:
                    circuit.failures = 0
                circuit.failures += report.failures
                circuit.failed_at = now
                if report.threshold and circuit.failures >= report.threshold:
                    self._open(circuit, report.cooldown, now)
            case CircuitAct.OPENED if holds or over or (circuit.state is CLOSED and not late):
                circuit.failures += report.failures
                self._open(circuit, report.cooldown, now)
            case CircuitAct.CLOSED if holds:
                self._close(circuit, now)
            case CircuitAct.CLOSED if circuit.state is CLOSED and not late:
                circuit.failures = 0
            case CircuitAct.RELEASED if holds:
                self._change(circuit, HALF_OPEN, now, now)
            case CircuitAct.RESET:
                self._close(circuit, now)
            case CircuitAct.ASKED if holds or over or (circuit.state is CLOSED and knows):
                longer = 2 * circuit.lasts if circuit.state is HALF_OPEN else 0.0
                self._change(circuit, HALF_OPEN, now + max(report.patience, longer), now)
                return True
        return False

    def _open(self, circuit: Circuit, cooldown: float, now: float) -> None:
        circuit.openings += 1
        self._change(circuit, OPEN, now + cooldown, now)

    def _close(self, circuit: Circuit, now: float) -> None:
        circuit.openings = circuit.failures = 0
        self._change(circuit, CLOSED, now, now)

    def _change(
        self, circuit: Circuit, state: SharedCircuitState, until: float, now: float
    ) -> None:
        circuit.state, circuit.until, circuit.changed_at = state, until, now
        circuit.lasts = until - now
        circuit.generation += 1

    async def set_mode(self, name: str, mode: str, /) -> int | None:
        self.commands += 1
        if self.lost:
            return None
        stamp = 1 + max((setting.stamp for setting in self.settings.values()), default=0)
        self.settings[name] = ManualSetting(mode, stamp)
        return stamp

    async def modes(self) -> Mapping[str, ManualSetting] | None:
        self.commands += 1
        return None if self.lost else dict(self.settings)

    async def lease(
        self, name: str, pace: Pace, wanted: int, patience: float, /
    ) -> TokenLease | None:
        self.commands += 1
        if self.lost:
            return None
        rate, now = self.rates[name], self.clock()
        held_for = max(0.0, rate.held_until - now)
        next_at = max(rate.next_at, now)
        first_in = next_at - (pace.burst - 1) * pace.interval - now
        if held_for or first_in > patience:
            return TokenLease(0, first_in, held_for)
        rate.next_at = next_at + wanted * pace.interval
        return TokenLease(wanted, first_in, 0.0)

    async def hold_back(self, name: str, seconds: float, /) -> None:
        self.commands += 1
        if not self.lost:
            rate = self.rates[name]
            rate.held_until = max(rate.held_until, self.clock() + seconds)
