"""Events: frozen dataclasses that describe what happens to calls, and the listener for them.

No event contains a query string, userinfo, a header value or a body. Each has the `server` that its
request is for, if there is one; it is not compared, and log entries leave it out.
"""

import enum
from dataclasses import dataclass
from typing import ClassVar, Protocol

from walltrack.core.circuit_events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitModeChanged,
    CircuitOpened,
    RequestAdmitted,
    RequestWaiting,
)
from walltrack.core.naming import AboutServer
from walltrack.core.stop_reason import ORDINARY_STOPS, StopReason

__all__ = [
    "ORDINARY_STOPS",
    "CallSucceededAfterRetries",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitModeChanged",
    "CircuitOpened",
    "Event",
    "Listener",
    "OriginThrottled",
    "RejectReason",
    "RequestAdmitted",
    "RequestHedged",
    "RequestRejected",
    "RequestWaiting",
    "RetryScheduled",
    "RetryStopped",
    "StopReason",
]


class RejectReason(enum.StrEnum):
    """Why a request was rejected without being sent."""

    CIRCUIT_OPEN = "circuit_open"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    RATE_LIMIT = "rate_limit"
    WAITING_ROOM_FULL = "waiting_room_full"
    WAITING_ROOM_TIMEOUT = "waiting_room_timeout"
    CIRCUIT_OPEN_TOO_LONG = "circuit_open_too_long"


@dataclass(frozen=True, slots=True)
class RetryScheduled(AboutServer):
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
class RetryStopped(AboutServer):
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
class CallSucceededAfterRetries(AboutServer):
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
class RequestRejected(AboutServer):
    """A circuit breaker, a waiting room or a limit rejected a request.

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
class RequestHedged(AboutServer):
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
class OriginThrottled(AboutServer):
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


@dataclass(frozen=True, slots=True)
class SharedStateLost(AboutServer):
    """The store that processes share does not answer; each uses its own state until it does.

    Args:
        service: Name of the store: the first part of its keys.
        failure: The class name of the exception.
        server: None.
    """

    name: ClassVar[str] = "shared_state_lost"

    service: str
    failure: str


@dataclass(frozen=True, slots=True)
class SharedStateRecovered(AboutServer):
    """The store that processes share answers again.

    Args:
        service: Name of the store: the first part of its keys.
        server: None.
    """

    name: ClassVar[str] = "shared_state_recovered"

    service: str


Event = (
    RetryScheduled
    | RetryStopped
    | CallSucceededAfterRetries
    | CircuitOpened
    | CircuitHalfOpened
    | CircuitClosed
    | CircuitModeChanged
    | RequestRejected
    | RequestWaiting
    | RequestAdmitted
    | RequestHedged
    | OriginThrottled
    | SharedStateLost
    | SharedStateRecovered
)


class Listener(Protocol):
    """A function that is called with each event as it happens.

    It runs in the task that caused the event, so it should return quickly.
    """

    def __call__(self, event: Event, /) -> None:
        """Handle `event`."""
        ...
