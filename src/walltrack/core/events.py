"""Events: frozen dataclasses that describe what happens to calls, and the listener for them.

No event contains a query string, userinfo, a header value or a body. Each has the `server` that its
request is for, if there is one; it is not compared, and log entries leave it out.
"""

import enum
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from walltrack.core.naming import Server


class StopReason(enum.StrEnum):
    """Why there is no retry after a failed attempt."""

    # A retry could have helped.
    RETRIES_EXHAUSTED = "retries_exhausted"
    METHOD_NOT_RETRIED = "method_not_retried"
    BODY_CANNOT_REPLAY = "body_cannot_replay"
    CIRCUIT_OPEN = "circuit_open"
    RETRY_AFTER_TOO_LONG = "retry_after_too_long"
    BUDGET_EMPTY = "budget_empty"
    DEADLINE_TOO_CLOSE = "deadline_too_close"
    TRANSPORT_CLOSED = "transport_closed"

    # A retry would not have helped.
    STATUS_NOT_RETRIED = "status_not_retried"
    SERVER_DECLINED = "server_declined"
    """The response has `x-should-retry: false`."""
    CLASSIFIED_AS_FINAL = "classified_as_final"
    ERROR_NOT_RETRIED = "error_not_retried"
    BAD_CERTIFICATE = "bad_certificate"
    CLOSED_LOCALLY = "closed_locally"
    RESPONSE_TOO_LARGE = "response_too_large"
    REQUEST_REJECTED = "request_rejected"
    """A layer inside rejected the retry: see the `RequestRejected` before."""

    # The caller did not want or did not need one.
    RETRIES_OFF = "retries_off"
    CANCELLED = "cancelled"
    DEADLINE_PASSED = "deadline_passed"
    BODY_BROKE_OFF = "body_broke_off"
    """The body broke off while the caller read it, after a part of it was delivered."""


ORDINARY_STOPS: frozenset[StopReason] = frozenset(
    {
        StopReason.STATUS_NOT_RETRIED,
        StopReason.SERVER_DECLINED,
        StopReason.CLASSIFIED_AS_FINAL,
        StopReason.ERROR_NOT_RETRIED,
        StopReason.CLOSED_LOCALLY,
        StopReason.REQUEST_REJECTED,
        StopReason.RETRIES_OFF,
        StopReason.CANCELLED,
    }
)
"""Reasons that are part of normal operation, such as a 404; they are logged at level DEBUG."""


class RejectReason(enum.StrEnum):
    """Why a request was rejected without being sent."""

    CIRCUIT_OPEN = "circuit_open"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    RATE_LIMIT = "rate_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class _AboutServer:
    """The common field of all events."""

    server: Server | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class RetryScheduled(_AboutServer):
    """An attempt failed, and there will be a retry after a delay.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        attempt: Number of the attempt that failed, from 1; also the number of the coming retry.
        max_retries: Maximum number of retries of the call.
        delay: Seconds until the next attempt.
        failure: Why the attempt failed: its status, or the class name of its exception.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "retry_scheduled"

    service: str
    method: str
    path: str
    attempt: int
    max_retries: int
    delay: float
    failure: str


@dataclass(frozen=True, slots=True)
class RetryStopped(_AboutServer):
    """A call failed, and there will be no retry.

    Reasons that are part of normal operation, such as the status 404, are logged at level DEBUG.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        attempt: Number of the attempt that failed, from 1.
        max_retries: Maximum number of retries of the call.
        failure: Why the attempt failed: its status, or the class name of its exception.
        stop_reason: Why there is no retry.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "retry_stopped"

    service: str
    method: str
    path: str
    attempt: int
    max_retries: int
    failure: str
    stop_reason: StopReason


@dataclass(frozen=True, slots=True)
class CallSucceededAfterRetries(_AboutServer):
    """A call succeeded after one or more retries.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        attempts: How many attempts were made; 2 or more.
        seconds: How long the retries took, from the first failure to the success.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "call_succeeded_after_retries"

    service: str
    method: str
    path: str
    attempts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CircuitOpened(_AboutServer):
    """A circuit breaker opened and rejects requests from now on, unless it only observes.

    Args:
        service: Name of the service, or its `host[:port]`.
        failures: How many calls failed in a row; with a window, how many failed or were slow in it.
        cooldown: Seconds until the first probe is admitted.
        mode: The mode of the breaker: "observe_only" if it only observes, and rejects nothing.
        previous: The state before: "closed" or "half_open".
        key: The key of the breaker, as text; None if it is the origin.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "circuit_opened"

    service: str
    failures: int
    cooldown: float
    mode: str = "automatic"
    previous: str = "closed"
    key: str | None = None


@dataclass(frozen=True, slots=True)
class CircuitHalfOpened(_AboutServer):
    """A circuit breaker's cooldown is over, and it admits probes.

    Args:
        service: Name of the service, or its `host[:port]`.
        mode: The mode of the breaker.
        key: The key of the breaker, as text; None if it is the origin.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "circuit_half_opened"

    service: str
    mode: str = "automatic"
    key: str | None = None


@dataclass(frozen=True, slots=True)
class CircuitClosed(_AboutServer):
    """A circuit breaker closed after its probes succeeded: it admits all requests again.

    Args:
        service: Name of the service, or its `host[:port]`.
        mode: The mode of the breaker.
        key: The key of the breaker, as text; None if it is the origin.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "circuit_closed"

    service: str
    mode: str = "automatic"
    key: str | None = None


@dataclass(frozen=True, slots=True)
class CircuitModeChanged(_AboutServer):
    """The mode of a circuit breaker was set manually, also if it had that mode before.

    Args:
        service: Name of the service, or its `host[:port]`.
        mode: The mode: "forced_open", "disabled", "observe_only", or "automatic" after `reset`.
        state: The state from now on.
        previous: The state before.
        key: The key of the breaker, as text; None if it is the origin.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "circuit_mode_changed"

    service: str
    mode: str
    state: str
    previous: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class RequestRejected(_AboutServer):
    """A circuit breaker, a concurrency limit or a rate limit rejected a request.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        reason: Why it was rejected.
        retry_after: Seconds after which another request may be accepted; None if this is unknown,
            as with a circuit that was forced open.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "request_rejected"

    service: str
    method: str
    path: str
    reason: RejectReason
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class RequestHedged(_AboutServer):
    """An attempt took long, and a second one was sent in parallel (a hedge).

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        after: Seconds that the first attempt had been in flight.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "request_hedged"

    service: str
    method: str
    path: str
    after: float


@dataclass(frozen=True, slots=True)
class OriginThrottled(_AboutServer):
    """A response asked for fewer requests: no request is sent to its origin for some time.

    Args:
        service: Name of the service, or its `host[:port]`.
        seconds: How long no request is sent, in seconds.
        reason: Name of the response header that asked for it.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "origin_throttled"

    service: str
    seconds: float
    reason: str


Event = (
    RetryScheduled
    | RetryStopped
    | CallSucceededAfterRetries
    | CircuitOpened
    | CircuitHalfOpened
    | CircuitClosed
    | CircuitModeChanged
    | RequestRejected
    | RequestHedged
    | OriginThrottled
)


class Listener(Protocol):
    """A function that is called with each event as it happens.

    It runs in the task that caused the event, so it should return quickly.
    """

    def __call__(self, event: Event, /) -> None:
        """Handle `event`."""
        ...
