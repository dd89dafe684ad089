"""One circuit breaker as a member of a fleet: what it reports, and what it does with the answer."""

from collections.abc import Callable
from typing import Final

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.following import Snapshot
from walltrack.circuit_breaker.state import CircuitMode, CircuitState
from walltrack.core.shared_state import CircuitAct, CircuitReport, CircuitView, SharedCircuitState

_CLOSED, _OPEN, _HALF_OPEN = CircuitState

_RESULTS: Final = frozenset({CircuitAct.OPENED, CircuitAct.CLOSED, CircuitAct.RELEASED})
"""What a probe can lead to. Its lease ends with the report."""

_SET: Final[dict[CircuitMode, Callable[[CircuitBreaker], None]]] = {
    CircuitMode.AUTOMATIC: CircuitBreaker.reset,
    CircuitMode.FORCED_OPEN: CircuitBreaker.force_open,
    CircuitMode.DISABLED: CircuitBreaker.disable,
    CircuitMode.OBSERVE_ONLY: CircuitBreaker.observe_only,
}

MEMORY: Final = 30.0
"""Seconds for which the fleet remembers, at least: failures can be a timeout of httpx apart, and a
call that began before a change can end as late, however short the cooldown is."""

_LONGEST_LEASE: Final = 3600.0
"""Seconds: a store that answers nonsense must not keep a probe's place for longer."""

ASK_AGAIN: Final = 0.5
"""Seconds after which a process asks again whether the probe of another one has succeeded."""


class Member:
    """Compare a breaker with what the fleet knows of it, and let it follow the fleet.

    1. What has changed since the last report is reported: failures, an opening, a success.
    2. Before a probe, the lease for it is asked for.
    3. If the circuit of the fleet is open or half-open, so is the breaker; if it was closed, the
       breaker closes.
    4. If there is no answer, the breaker continues by itself, and what was to be reported is
       dropped.

    Args:
        breaker: The breaker.
        name: The name of its circuit in the fleet.
        clock: Monotonic seconds.
    """

    __slots__ = (
        "_clock",
        "_generation",
        "_lease",
        "_lease_until",
        "_seen",
        "_told",
        "breaker",
        "name",
        "settings",
        "stamp",
    )

    def __init__(
        self,
        breaker: CircuitBreaker,
        name: str,
        clock: Callable[[], float],
    ) -> None:
        self.breaker: CircuitBreaker = breaker
        self.name: str = name
        self.settings: int = breaker.settings
        """How many manual settings of the breaker the fleet knows, or does not need to know."""
        self.stamp: int = 0
        """The stamp of the last manual setting of the fleet that the breaker followed."""
        self._clock = clock
        self._generation = 0
        self._lease = 0
        self._lease_until = 0.0
        self._told = Snapshot(_CLOSED, 0, breaker.generation)
        self._seen = self._told

    def has_report(self, *, ask: bool) -> bool:
        """Return whether there will be a next report, also while one is in flight."""
        return self._next(self.breaker.snapshot(), ask=ask) is not None

    def next_report(self, *, ask: bool) -> CircuitReport | None:
        """Return what the fleet has to know next; None if it knows everything.

        Call it only after the answer to the last one, or after `continue_alone`.

        Args:
            ask: Whether a request is to be sent now, which needs the lease if it is a probe.
        """
        seen = self.breaker.snapshot()
        report = self._next(seen, ask=ask)
        if report is not None and report.act is CircuitAct.CLOSED:
            seen = Snapshot(_CLOSED, 0, seen.generation)  # failures after it are reported next
        if report is not None and report.act in _RESULTS:
            self._lease = 0  # also if the answer takes longer than the next cooldown
        self._seen = seen
        return report

    def _next(self, seen: Snapshot, *, ask: bool) -> CircuitReport | None:
        if self.breaker.mode is not CircuitMode.AUTOMATIC:
            return None
        report = self._news(seen)
        if report is None and ask and self.breaker.wants_probe() and not self._has_lease():
            return self._report(CircuitAct.ASKED)
        if report is None and not ask and self._lease and self.breaker.is_probation_untouched:
            return self._report(CircuitAct.RELEASED)
        return report

    def follow(self, asked_at: float, view: CircuitView) -> tuple[CircuitState, ...]:
        """Let the breaker be as the circuit of the fleet is.

        Args:
            asked_at: The time just before the report was sent.
            view: The answer to the last report.

        Returns:
            The states that the breaker changed to.
        """
        self._told = self._seen
        self._generation = view.generation
        if view.granted:
            self._lease = view.generation
            seconds = min(view.seconds, _LONGEST_LEASE)
            self._lease_until = asked_at + seconds
            self.breaker.lease_probes(seconds)
            return ()
        if self._lease != view.generation:
            self._lease = 0
        elif view.state is SharedCircuitState.HALF_OPEN:
            return ()
        before = self.breaker.snapshot()
        became = self._state_of(view, before)
        after = self.breaker.snapshot()
        if after != before:
            self._told = after
        return became

    def continue_alone(self) -> None:
        """Note that there was no answer: what happened until now is not reported any more."""
        self._told = self._seen
        self._lease = 0

    def follow_setting(self, mode: CircuitMode, stamp: int) -> None:
        """Let the breaker have the mode that another process set."""
        self.stamp = stamp
        _SET[mode](self.breaker)
        self.settings = self.breaker.settings
        self.begin_again()

    def begin_again(self) -> None:
        """Note that the breaker was set manually, so that nothing before counts."""
        self._told = self.breaker.snapshot()
        self._lease = 0

    def reset_report(self) -> CircuitReport:
        """Return the report that the circuit was set manually."""
        return self._report(CircuitAct.RESET)

    def _news(self, seen: Snapshot) -> CircuitReport | None:
        told = self._told
        failed = seen.failures - told.failures
        if seen.state is _OPEN and (told.state, told.generation) != (_OPEN, seen.generation):
            left = self.breaker.shut_for()
            return self._report(CircuitAct.OPENED, max(failed, 0), left) if left else None
        if seen.state is _CLOSED and (told.state is not _CLOSED or failed < 0):
            return self._report(CircuitAct.CLOSED)
        if seen.state is _CLOSED and failed > 0:
            return self._report(CircuitAct.FAILED, failed, self.breaker.next_cooldown)
        return None

    def _state_of(self, view: CircuitView, now: Snapshot) -> tuple[CircuitState, ...]:
        breaker = self.breaker
        if view.state is SharedCircuitState.CLOSED:
            # If it changed while the report was in flight, the next report tells the fleet.
            unchanged = now.state is self._seen.state
            return breaker.close() if unchanged and now.state is not _CLOSED else ()
        if view.state is SharedCircuitState.HALF_OPEN:
            seconds = min(view.seconds, ASK_AGAIN)
            if now.state is not _CLOSED:
                breaker.wait_for(seconds)
                return ()
        else:
            seconds = min(view.seconds, breaker.longest_cooldown)
        return breaker.open_for(seconds, view.openings, view.failures)

    def _report(self, act: CircuitAct, failures: int = 0, cooldown: float = 0.0) -> CircuitReport:
        breaker = self.breaker
        return CircuitReport(
            act=act,
            generation=self._generation,
            lease=self._lease,
            failures=failures,
            threshold=breaker.failure_threshold if breaker.counts_in_row else 0,
            cooldown=cooldown,
            patience=breaker.cooldown_seconds,
            memory=max(breaker.cooldown_seconds, MEMORY),
        )

    def _has_lease(self) -> bool:
        return self._lease != 0 and self._clock() < self._lease_until
