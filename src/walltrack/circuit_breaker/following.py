"""A circuit that can also follow what other processes decide."""

from typing import NamedTuple

from walltrack.circuit_breaker.circuit import Circuit
from walltrack.circuit_breaker.probation import Probation
from walltrack.circuit_breaker.state import CircuitState


class Snapshot(NamedTuple):
    """What a circuit looked like at some time.

    Args:
        state: The state that the last request left it in.
        failures: How many calls had failed in a row.
        generation: Its own generation.
    """

    state: CircuitState
    failures: int
    generation: int


class FollowingCircuit(Circuit):
    """A circuit whose state can be set from outside, as the state of a fleet of processes."""

    __slots__ = ()

    @property
    def counts_in_row(self) -> bool:
        """Whether it opens after a number of failures in a row, however quickly they follow."""
        return self._tally is None and not self.failing_seconds

    @property
    def next_cooldown(self) -> float:
        """For how many seconds it would stay open, if it opened now."""
        return self._cooldown.upcoming()

    @property
    def longest_cooldown(self) -> float:
        """The longest time in seconds that it stays open."""
        return self._cooldown.longest

    @property
    def is_probation_untouched(self) -> bool:
        """Whether it is half-open, and no probe is in flight or has had a verdict."""
        return self._probation is not None and self._probation.is_untouched

    def snapshot(self) -> Snapshot:
        """Return what it looks like now."""
        return Snapshot(self._state, self._failures, self._generation)

    def wants_probe(self) -> bool:
        """Return whether the next request would be a probe."""
        if self._state is CircuitState.CLOSED:
            return False
        now = self._clock()
        return now >= self._due and not (
            self._probation is not None and self._probation.is_passed(now)
        )

    def lease_probes(self, seconds: float) -> None:
        """Give the next probes the time of a lease, in which other processes send none."""
        self._cooldown.probe_seconds = seconds
        if self._probation is not None:
            self._probation.renew(seconds)

    def open_for(self, seconds: float, openings: int, failures: int) -> tuple[CircuitState, ...]:
        """Be open for `seconds` from now, as the circuit of the fleet is.

        Args:
            seconds: How long.
            openings: How many times the fleet's circuit opened since it was last closed.
            failures: How many calls of the fleet failed.

        Returns:
            The states that the circuit changed to; none if it was open.
        """
        was, now = self._state, self._clock()
        self._cooldown.follow(seconds, openings)
        if was is not CircuitState.OPEN:
            self._previous, self._state = was, CircuitState.OPEN
            self._since, self._probation = now, None
            self.disown_results_in_flight()
        self._shut(now + seconds)
        self._failures = max(failures, self._failures, 1)
        self._tell_ledger()
        return () if was is CircuitState.OPEN else (CircuitState.OPEN,)

    def wait_for(self, seconds: float) -> None:
        """Admit no probe for `seconds`, because another process sends one; disown those in flight.

        The state stays the same: open or half-open.
        """
        if self._probation is not None:
            of_probes = self._cooldown.probe_seconds
            self._probation = Probation(self.probes, self._enough, of_probes)
        self._shut(self._clock() + seconds)

    def close(self) -> tuple[CircuitState, ...]:
        """Be closed, as the circuit of the fleet is.

        Returns:
            The states that the circuit changed to; none if it was closed.
        """
        if self._probation is not None:
            self.disown_results_in_flight()
        return self._close()
