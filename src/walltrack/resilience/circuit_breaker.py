"""A circuit breaker that counts failures in a row, and lets exactly one probe find out more."""

import enum
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self

from walltrack.core import validation
from walltrack.core.exceptions import CircuitBreakerOpenError, RequestRejectedError
from walltrack.resilience.outcome import Verdict


class CircuitState(enum.StrEnum):
    """What a circuit breaker does with a request."""

    CLOSED = "closed"
    """Lets it through."""

    OPEN = "open"
    """Refuses it, until the cooldown is over."""

    HALF_OPEN = "half_open"
    """Lets a single one through, the probe, and refuses the others."""


_CLOSED, _OPEN, _HALF_OPEN = CircuitState  # a look-up on the class costs as much as a call


class Ledger:
    """What breakers that serve one transport have in common.

    `epoch` is the clock of generations: whatever may concern the requests in flight takes the next
    number. A request that noted the epoch when it began is thereby known to have begun before or
    after a breaker changed, and to have nothing to tell if nothing has happened since. `floor` is
    the generation in which new breakers begin. `alert` counts the breakers that have to see every
    request; while it is 0, a success needs no book-keeping at all.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.floor = 0
        self.alert = 0

    def troubled(self, _breaker: "CircuitBreaker") -> None:
        """Note that a breaker, which was clean (closed without failures), is not any more."""
        self.alert += 1
        self.epoch += 1

    def recovered(self, _breaker: "CircuitBreaker") -> None:
        """Note that a breaker is clean again."""
        self.alert -= 1


class Admission(NamedTuple):
    """Leave to make one request.

    Args:
        ticket: To be given back with the verdict; exactly once.
        became: The state that the breaker changed to by admitting it, if it did.
    """

    ticket: int
    became: CircuitState | None


class CircuitBreaker:
    """Stops asking a service that keeps failing, and finds out by single probes when it is back.

    CLOSED until `failure_threshold` failures in a row; then OPEN for `cooldown_seconds`; then
    HALF_OPEN, in which one probe goes through, however many callers there are. The probe's success
    closes the breaker and its failure opens it again; a probe without verdict gives its place back,
    and one that has not settled after another `cooldown_seconds` loses it to the next caller.

    Around any call, `with breaker.acquire(): ...` does all of it. Not thread-safe: one breaker
    belongs to one event loop.

    Args:
        failure_threshold: How many failures in a row open it; at least 1.
        cooldown_seconds: How long it stays open before a probe, in seconds; above 0.
        service: What it guards, for the text of errors.
        clock: Monotonic seconds; every duration is measured by it.
        wall_clock: Seconds since the epoch; read for `last_failure_time` only.
        ledger: For breakers that serve one transport together; a breaker by itself keeps its own.

    Raises:
        TypeError: A number is not a number.
        ValueError: A number is too small, infinite or NaN.
    """

    __slots__ = (
        "_answered",
        "_clock",
        "_failed_at",
        "_failures",
        "_generation",
        "_shut_until",
        "_state",
        "_wall_clock",
        "cooldown_seconds",
        "failure_threshold",
        "ledger",
        "service",
    )

    def __init__(
        self,
        failure_threshold: int = 5,
        cooldown_seconds: float = 30.0,
        *,
        service: str = "service",
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        ledger: Ledger | None = None,
    ) -> None:
        validation.integer("failure_threshold", failure_threshold, minimum=1)
        validation.positive("cooldown_seconds", cooldown_seconds)
        self.failure_threshold = failure_threshold
        self.cooldown_seconds = cooldown_seconds
        self.service = service
        self.ledger = Ledger() if ledger is None else ledger
        self._clock = clock
        self._wall_clock = wall_clock
        self._state = _CLOSED
        self._failures = 0  # in a row; above 0 whenever the state is not CLOSED
        self._failed_at: float | None = None
        self._generation = self.ledger.floor  # results whose ticket is lower are late
        self._shut_until = -math.inf  # OPEN: end of the cooldown; HALF_OPEN: of the probe's time
        self._answered = False  # HALF_OPEN: the probe's good headers have come

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.state}, "
            f"failures {self._failures}/{self.failure_threshold}, shut for {self.shut_for():.1f} s>"
        )

    # Reading changes nothing.

    @property
    def state(self) -> CircuitState:
        """The state that a request would meet now."""
        if self._state is _CLOSED or self._clock() < self._shut_until:
            return self._state
        return _CLOSED if self._answered else _HALF_OPEN

    @property
    def generation(self) -> int:
        """Results of requests that began in an earlier one change nothing."""
        return self._generation

    @property
    def failure_count(self) -> int:
        """How many attempts failed in a row."""
        return self._failures

    @property
    def last_failure_time(self) -> datetime | None:
        """When an attempt last failed, in UTC; for people to read."""
        return None if self._failed_at is None else datetime.fromtimestamp(self._failed_at, UTC)

    def shut_for(self) -> float:
        """For how many seconds requests will be refused from now on; 0.0 when they are not.

        While a probe is under way this is the longest it can take: its verdict may come sooner.
        """
        if self._state is _CLOSED:
            return 0.0
        left = self._shut_until - self._clock()
        return left if left > 0.0 else 0.0  # noqa: FURB136 - a refusal is to be quick

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

    # The plain API, for calls of any kind.

    def acquire(self) -> "Permit":
        """Take leave to make one call. The permit has to be settled; `with` sees to that.

        Raises:
            CircuitBreakerOpenError: The breaker is open, or half-open with its probe under way.
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

    # For transports, which carry the bare ticket and tell of the changes.

    def admit(self) -> Admission | None:
        """Let one request through, or refuse it by None."""
        # 1. Closed: through.
        # 2. Open, or half-open with a probe under way: refused.
        # 3. Half-open, the probe's time is over, but its good headers had come: that was its
        #    success. Its ticket stays valid: a body that breaks off later is an ordinary failure.
        # 4. The cooldown is over, or the probe's place is free again, or its time is over: probe.
        if self._state is _CLOSED:
            return Admission(self.ledger.epoch, None)
        now = self._clock()
        if now < self._shut_until:
            return None
        if self._answered:
            self._close()
            return Admission(self.ledger.epoch, _CLOSED)
        became = _HALF_OPEN if self._state is _OPEN else None
        self._state = _HALF_OPEN
        self._shut_until = now + self.cooldown_seconds
        self._disown_results_in_flight()
        return Admission(self._generation, became)

    def is_probe(self, ticket: int) -> bool:
        """Whether `ticket` is that of the probe under way."""
        return self._state is _HALF_OPEN and ticket >= self._generation

    def answered(self, ticket: int) -> None:
        """Note that good headers came; the verdict waits for the end of the body."""
        if self.is_probe(ticket):
            self._answered = True

    def settle(self, ticket: int, verdict: Verdict) -> tuple[CircuitState, ...]:
        """Take the verdict on a request that was let through.

        Returns:
            The states that it changed to, in order; mostly none.
        """
        if ticket < self._generation:  # begun before the state changed: says nothing of now
            return ()
        changes: tuple[CircuitState, ...] = ()
        if self._answered and self._clock() >= self._shut_until:  # case 3 of `admit`
            changes = self._close()
        if verdict is Verdict.SUCCESS:
            return changes + self._close()
        if verdict is Verdict.FAILURE:
            return changes + self._count_failure()
        self._free_place()
        return changes

    def _close(self) -> tuple[CircuitState, ...]:
        was, self._state = self._state, _CLOSED
        if self._failures:
            self._failures = 0
            self.ledger.recovered(self)
        self._answered = False
        return () if was is _CLOSED else (self._state,)

    def _count_failure(self) -> tuple[CircuitState, ...]:
        if not self._failures:
            self.ledger.troubled(self)
        self._failures += 1
        self._failed_at = self._wall_clock()
        if self._failures < self.failure_threshold:  # never so while half-open
            return ()
        self._state = _OPEN
        self._shut_until = self._clock() + self.cooldown_seconds
        self._answered = False
        self._disown_results_in_flight()
        return (self._state,)

    def _free_place(self) -> None:
        self._answered = False
        self._shut_until = -math.inf

    def _disown_results_in_flight(self) -> None:
        self.ledger.epoch += 1
        self._generation = self.ledger.epoch


class Permit:
    """Leave to make one call through a `CircuitBreaker`, settled exactly once.

    As a context manager it settles by how the block ends: as a success, or on an exception as a
    failure; a cancellation, or a rejection by a layer of this library, is no verdict. Settling
    again, also by leaving the block, changes nothing.
    """

    __slots__ = ("_breaker", "_settled", "_ticket")

    def __init__(self, breaker: CircuitBreaker, ticket: int) -> None:
        self._breaker = breaker
        self._ticket = ticket
        self._settled = False

    def success(self) -> None:
        """The call succeeded."""
        self._settle(Verdict.SUCCESS)

    def failure(self) -> None:
        """The call failed."""
        self._settle(Verdict.FAILURE)

    def release(self) -> None:
        """The call ended without a verdict on the service: it was cancelled, or never sent."""
        self._settle(Verdict.NONE)

    def _settle(self, verdict: Verdict) -> None:
        if not self._settled:
            self._settled = True
            self._breaker.settle(self._ticket, verdict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self.success()
        elif isinstance(exc, Exception) and not isinstance(exc, RequestRejectedError):
            self.failure()
        else:
            self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'settled' if self._settled else 'pending'}>"
