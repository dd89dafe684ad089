"""A circuit breaker: counts failures in a row, or rates in a window, and finds out by probes."""

import math
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from walltrack.circuit_breaker.circuit import Circuit
from walltrack.circuit_breaker.cooldown import COOLDOWN, growth_of
from walltrack.circuit_breaker.ledger import Ledger
from walltrack.circuit_breaker.permit import Permit
from walltrack.circuit_breaker.state import CircuitMode, CircuitState
from walltrack.circuit_breaker.ticket import NEVER
from walltrack.circuit_breaker.windows import CountWindow, TimeWindow
from walltrack.core import validation
from walltrack.core.backoff import Backoff, Random
from walltrack.core.exceptions import CircuitBreakerOpenError
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.outcome import Verdict


class CircuitBreaker(Circuit):
    """Stops asking a service that keeps failing, and finds out by probes when it is back.

    CLOSED until `failure_threshold` failures in a row, or until a rate in the `window` is too high;
    then OPEN for the cooldown; then HALF_OPEN, in which `probes` requests go through, however many
    callers there are. When the needed share of them has succeeded it closes, and when that cannot
    be reached any more it opens again. A probe without verdict gives its place back, and one that
    has not settled after the first cooldown loses it to the next caller. Probes that are under way
    when it closes are ordinary calls from then on.

    Around any call, `with breaker.acquire(): ...` does all of it. Not thread-safe: one breaker
    belongs to one event loop.

    Args:
        failure_threshold: How many failures in a row open it; at least 1. With a `window` they do
            not. Default: 5.
        cooldown: How long it stays open before a probe, in seconds; above 0. A `Backoff`: how that
            grows each time that it opens without having closed, for instance
            `Backoff(base=5, cap=300, jitter="equal")`. Default: 30.
        cooldown_seconds: Another name for a `cooldown` that does not grow; give one of the two.
        window: Where it looks for rates of failures and of slow calls, instead of for failures in a
            row. A slow probe is no good one.
        probes: How many requests it lets through while half-open; at least 1. Default: 1.
        probe_success_rate: The share of them that has to succeed; above 0, at most 1. Default: 1.
        service: What it guards, for the text of errors. Default: "service".
        clock: Monotonic seconds; every duration is measured by it.
        wall_clock: Seconds since the epoch; read for `last_failure_time` only.
        rng: Source of the cooldown's jitter: the `random` module, or a `random.Random`.
        ledger: For breakers that serve one transport together; a breaker by itself keeps its own.

    Raises:
        TypeError: An argument is of another type.
        ValueError: A number is too small or too large, infinite or NaN.
    """

    __slots__ = ("service",)

    @shows_defaults_by_name
    def __init__(
        self,
        failure_threshold: int = 5,
        cooldown: float | Backoff = COOLDOWN,
        *,
        cooldown_seconds: float | None = None,
        window: CountWindow | TimeWindow | None = None,
        probes: int = 1,
        probe_success_rate: float = 1.0,
        service: str = "service",
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        rng: Random = random,
        ledger: Ledger | None = None,
    ) -> None:
        validation.integer("failure_threshold", failure_threshold, minimum=1)
        growth = growth_of(cooldown, cooldown_seconds)
        validation.instance("window", window, CountWindow | TimeWindow | None)
        validation.integer("probes", probes, minimum=1)
        validation.share("probe_success_rate", probe_success_rate)
        super().__init__(
            failure_threshold=failure_threshold,
            cooldown=growth,
            window=window,
            probes=probes,
            probe_success_rate=probe_success_rate,
            clock=clock,
            wall_clock=wall_clock,
            rng=rng,
            ledger=Ledger() if ledger is None else ledger,
        )
        self.service: str = service

    def __repr__(self) -> str:
        shown = [str(self.state), f"failures {self.failure_count}"]
        if self.mode is not CircuitMode.AUTOMATIC:
            shown[0] += f" ({self.mode})"
        if self._tally is None:
            shown[1] += f"/{self.failure_threshold}"
        else:
            if self._state is CircuitState.CLOSED:
                shown[1] = repr(self._tally)
            shown.append(self._tally.thresholds)
        if 0.0 < self.shut_for() < math.inf:
            shown.append(f"shut for {self.shut_for():.1f} s")
        return f"<{type(self).__name__} {', '.join(shown)}>"

    # Reading changes nothing.

    @property
    def mode(self) -> CircuitMode:
        """What decides its state: its counts, or a manual setting."""
        return self._mode

    @property
    def failure_count(self) -> int:
        """How many attempts failed in a row; with a window, how many in it failed or were slow."""
        if self._tally is None or self._state is not CircuitState.CLOSED:
            return self._failures
        self._tally.refresh()
        return self._tally.bad

    @property
    def current_cooldown(self) -> float:
        """Seconds that it stays open, or stayed when it last opened, jitter included."""
        return self._cooldown.seconds

    @property
    def last_failure_time(self) -> datetime | None:
        """When an attempt last failed, in UTC; for people to read."""
        return None if self._failed_at is None else datetime.fromtimestamp(self._failed_at, UTC)

    # The plain API, for calls of any kind

    def can_execute(self) -> bool:
        """Whether a request would be let through now. Asking takes no place: see `acquire`."""
        return self.shut_for() == 0.0

    def raise_if_open(self) -> None:
        """Refuse where `can_execute` says no.

        Raises:
            CircuitBreakerOpenError: A request would be refused now.
        """
        if shut_for := self.shut_for():
            raise CircuitBreakerOpenError(self.service, shut_for)

    def acquire(self) -> Permit:
        """Take leave to make one call. The permit has to be settled; `with` sees to that.

        Raises:
            CircuitBreakerOpenError: The breaker is open, or half-open with its probes under way.
        """
        admission = self.admit()
        if admission is None:
            raise CircuitBreakerOpenError(self.service, self.shut_for())
        return Permit(self, admission.ticket)

    def record_success(self) -> None:
        """Note a call that succeeded, as if it had been let through and settled at this moment."""
        self._record(Verdict.SUCCESS)

    def record_failure(self) -> None:
        """Note a call that failed, as if it had been let through and settled at this moment."""
        self._record(Verdict.FAILURE)

    def _record(self, verdict: Verdict) -> None:
        admission = self.admit()
        if admission is not None:
            self.settle(admission.ticket, verdict)

    # Manual settings. Each clears all counts, and disowns the results of calls in flight.

    def force_open(self) -> None:
        """Refuse every request until told otherwise by one of the methods below."""
        self._become(CircuitMode.FORCED_OPEN)

    def disable(self) -> None:
        """Let every request through and count nothing, until told otherwise."""
        self._become(CircuitMode.DISABLED)

    def observe_only(self) -> None:
        """Count, and change the state by that, but refuse nothing, until told otherwise.

        What would have been refused is not counted, so that `state` shows what a breaker that does
        refuse would do.
        """
        self._become(CircuitMode.OBSERVE_ONLY)

    def reset(self) -> None:
        """Reset: closed, with nothing counted, and decided by its counts again."""
        self._become(CircuitMode.AUTOMATIC)

    def _become(self, mode: CircuitMode) -> None:
        self._mode = mode
        self._close()
        if self._tally is not None:
            self._tally.clear()
        self.disown_results_in_flight()
        if mode is CircuitMode.FORCED_OPEN:
            self._state = CircuitState.OPEN
            self._shut(math.inf)
        elif mode is CircuitMode.DISABLED:
            self._generation = NEVER
        self._tell_ledger()
