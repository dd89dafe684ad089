"""A circuit breaker that counts failures in a row, or rates in a window."""

import math
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from walltrack.circuit_breaker.cooldown import COOLDOWN, growth_of
from walltrack.circuit_breaker.following import FollowingCircuit
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

DEFAULT_SERVICE: Final = "service"


class CircuitBreaker(FollowingCircuit):
    """Reject calls to a service that keeps failing, and find out by probes when it has recovered.

    The breaker is CLOSED until `failure_threshold` calls in a row fail, or until a rate in the
    `window` is too high. Then it is OPEN for the cooldown. Then it is HALF_OPEN and admits `probes`
    requests, however many callers there are. It closes when the required share of the probes has
    succeeded, and opens again when that is no longer possible. A probe without a verdict gives its
    place back. A probe that has not settled within the first cooldown loses its place to the next
    caller, which has twice the time. Probes that are in flight when the breaker closes become
    ordinary calls.

    `with breaker.acquire(): ...` protects any kind of call. Not thread-safe: a breaker belongs to
    one event loop.

    Args:
        failure_threshold: How many failures in a row open the breaker; at least 1. Ignored with a
            `window`. Default: 5.
        cooldown: How long the breaker stays open before a probe, in seconds; above 0. A `Backoff`
            makes it grow each time that the breaker opens without having closed, for instance
            `Backoff(base=5, cap=300, jitter="equal")`. Default: 30.
        cooldown_seconds: Another name for a constant `cooldown`; give only one of the two.
        failing_seconds: How long calls must have failed in a row, in seconds; at least 0. So at a
            high rate, failures in a row by chance open no breaker. It does not apply before the
            first success after a failure, nor with a `window`. Default: 0.
        window: A `CountWindow` or `TimeWindow`: open at a rate of failures or slow calls instead of
            failures in a row. A slow probe does not count as a success.
        probes: How many requests are admitted while half-open; at least 1. Default: 1.
        probe_success_rate: The share of the probes that must succeed; above 0, at most 1. Default:
            1.
        service: Name of the service in errors. Default: "service".
        clock: Monotonic seconds; measures all durations.
        wall_clock: Seconds since the epoch; used only for `last_failure_time`.
        rng: Source of the cooldown's jitter: the `random` module, or a `random.Random`.
        ledger: Common state of the breakers of one transport. Default: a ledger for this breaker
            only.

    Raises:
        TypeError: An argument has another type.
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
        failing_seconds: float = 0.0,
        window: CountWindow | TimeWindow | None = None,
        probes: int = 1,
        probe_success_rate: float = 1.0,
        service: str = DEFAULT_SERVICE,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        rng: Random = random,
        ledger: Ledger | None = None,
    ) -> None:
        validation.integer("failure_threshold", failure_threshold, minimum=1)
        growth = growth_of(cooldown, cooldown_seconds)
        validation.number("failing_seconds", failing_seconds)
        validation.instance("window", window, CountWindow | TimeWindow | None)
        validation.integer("probes", probes, minimum=1)
        validation.share("probe_success_rate", probe_success_rate)
        super().__init__(
            failure_threshold=failure_threshold,
            failing_seconds=failing_seconds,
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
        """How many calls failed in a row; with a window, how many in it failed or were slow."""
        if self._tally is None or self._state is not CircuitState.CLOSED:
            return self._failures
        self._tally.refresh()
        return self._tally.bad

    @property
    def current_cooldown(self) -> float:
        """Seconds for which it stays open now, or stayed open last time, including jitter."""
        return self._cooldown.seconds

    @property
    def thresholds(self) -> str | None:
        """The rates in its window at which it opens, in words; None without a window."""
        return None if self._tally is None else self._tally.thresholds

    @property
    def since(self) -> datetime | None:
        """When it opened or became half-open, in UTC; None while it is closed."""
        if self._since is None:
            return None
        seconds_ago = self._clock() - self._since
        return datetime.fromtimestamp(self._wall_clock() - seconds_ago, UTC)

    @property
    def last_failure_time(self) -> datetime | None:
        """When a call last failed, in UTC; for display only."""
        return None if self._failed_at is None else datetime.fromtimestamp(self._failed_at, UTC)

    # The plain API, for calls of any kind

    def can_execute(self) -> bool:
        """Return whether a request would be admitted now. This takes no permit: see `acquire`."""
        return self.shut_for() == 0.0

    def raise_if_open(self) -> None:
        """Raise if `can_execute` returns False.

        Raises:
            CircuitBreakerOpenError: A request would be rejected now.
        """
        if shut_for := self.shut_for():
            raise CircuitBreakerOpenError(self.service, shut_for)

    def acquire(self) -> Permit:
        """Acquire permission for one call. The permit must be settled, which `with` does.

        Raises:
            CircuitBreakerOpenError: The breaker is open, or half-open with all probes in flight.
        """
        admission = self.admit()
        if admission is None:
            raise CircuitBreakerOpenError(self.service, self.shut_for())
        return Permit(self, admission.ticket)

    def record_success(self) -> None:
        """Count a call that succeeded, as if it was admitted and settled now."""
        self._record(Verdict.SUCCESS)

    def record_failure(self) -> None:
        """Count a call that failed, as if it was admitted and settled now."""
        self._record(Verdict.FAILURE)

    def _record(self, verdict: Verdict) -> None:
        admission = self.admit()
        if admission is not None:
            self.settle(admission.ticket, verdict)

    # Manual settings. Each clears all counts, and ignores the results of calls in flight.

    def force_open(self) -> None:
        """Reject all requests until the mode is changed by one of the methods below."""
        self._become(CircuitMode.FORCED_OPEN)

    def disable(self) -> None:
        """Admit all requests and count nothing, until the mode is changed."""
        self._become(CircuitMode.DISABLED)

    def observe_only(self) -> None:
        """Count calls and change the state, but reject nothing, until the mode is changed.

        Requests that an ordinary breaker would have rejected are not counted, so that `state` shows
        what that breaker would do.
        """
        self._become(CircuitMode.OBSERVE_ONLY)

    def reset(self) -> None:
        """Close the breaker, clear its counts, and return to automatic mode."""
        self._become(CircuitMode.AUTOMATIC)

    def _become(self, mode: CircuitMode) -> None:
        previous = self._state
        self._mode = mode
        self._close()
        if self._tally is not None:
            self._tally.clear()
        self.disown_results_in_flight()
        if mode is CircuitMode.FORCED_OPEN:
            self._since, self._state = self._clock(), CircuitState.OPEN
            self._shut(math.inf)
        elif mode is CircuitMode.DISABLED:
            self._generation = NEVER
        self._tell_ledger()
        self._note_setting(previous)
