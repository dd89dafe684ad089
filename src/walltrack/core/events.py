"""Events: frozen dataclasses that describe what happens to calls, and the listener for them.

No event contains a query string, userinfo, a header value or a body.
"""

import enum
from dataclasses import dataclass
from typing import ClassVar, Protocol


class StopReason(enum.StrEnum):
    """Why there is no retry after a failed attempt."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    METHOD_NOT_RETRIED = "method_not_retried"
    BODY_CANNOT_REPLAY = "body_cannot_replay"
    CIRCUIT_OPEN = "circuit_open"
    RETRY_AFTER_TOO_LONG = "retry_after_too_long"
    BUDGET_EMPTY = "budget_empty"
    DEADLINE_TOO_CLOSE = "deadline_too_close"
    TRANSPORT_CLOSED = "transport_closed"


class RejectReason(enum.StrEnum):
    """Why a request was rejected without being sent."""

    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    RATE_LIMIT = "rate_limit"
    WAITING_ROOM_FULL = "waiting_room_full"
    WAITING_ROOM_TIMEOUT = "waiting_room_timeout"
    CIRCUIT_OPEN_TOO_LONG = "circuit_open_too_long"


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """An attempt failed, and there will be a retry after a delay.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        attempt: Number of the attempt that failed, from 1; also the number of the coming retry.
        max_retries: Maximum number of retries of the call.
        delay: Seconds until the next attempt.
        failure: Why the attempt failed: its status, or the class name of its exception.
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
class RetryStopped:
    """An attempt failed in a way that is worth a retry, but there will be none.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        attempt: Number of the attempt that failed, from 1.
        max_retries: Maximum number of retries of the call.
        failure: Why the attempt failed: its status, or the class name of its exception.
        stop_reason: Why there is no retry.
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
class CircuitOpened:
    """A circuit breaker opened and rejects requests from now on.

    Args:
        service: Name of the service, or its `host[:port]`.
        failures: How many calls failed in a row; with a window, how many failed or were slow in it.
        cooldown: Seconds until the first probe is admitted.
    """

    name: ClassVar[str] = "circuit_opened"

    service: str
    failures: int
    cooldown: float


@dataclass(frozen=True, slots=True)
class CircuitHalfOpened:
    """A circuit breaker's cooldown is over, and it admits probes."""

    name: ClassVar[str] = "circuit_half_opened"

    service: str


@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """A circuit breaker closed after its probes succeeded: it admits all requests again."""

    name: ClassVar[str] = "circuit_closed"

    service: str


@dataclass(frozen=True, slots=True)
class RequestRejected:
    """A concurrency limit, a rate limit or a waiting room rejected a request.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        reason: Why it was rejected.
    """

    name: ClassVar[str] = "request_rejected"

    service: str
    method: str
    path: str
    reason: RejectReason


@dataclass(frozen=True, slots=True)
class RequestWaiting:
    """A request met an open circuit, and waits for it.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        shut_for: Seconds until the circuit admits the next probe, at the latest.
    """

    name: ClassVar[str] = "request_waiting"

    service: str
    method: str
    path: str
    shut_for: float


@dataclass(frozen=True, slots=True)
class RequestAdmitted:
    """A request that waited for a circuit is sent on: as a probe, or because the circuit closed.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        waited: Seconds that it waited.
    """

    name: ClassVar[str] = "request_admitted"

    service: str
    method: str
    path: str
    waited: float


@dataclass(frozen=True, slots=True)
class RequestHedged:
    """An attempt took long, and a second one was sent in parallel (a hedge).

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        after: Seconds that the first attempt had been in flight.
    """

    name: ClassVar[str] = "request_hedged"

    service: str
    method: str
    path: str
    after: float


@dataclass(frozen=True, slots=True)
class OriginThrottled:
    """A response asked for fewer requests: no request is sent to its origin for some time.

    Args:
        service: Name of the service, or its `host[:port]`.
        seconds: How long no request is sent, in seconds.
        reason: Name of the response header that asked for it.
    """

    name: ClassVar[str] = "origin_throttled"

    service: str
    seconds: float
    reason: str


Event = (
    RetryScheduled
    | RetryStopped
    | CircuitOpened
    | CircuitHalfOpened
    | CircuitClosed
    | RequestRejected
    | RequestWaiting
    | RequestAdmitted
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
