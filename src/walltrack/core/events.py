"""What happens to calls, as frozen dataclasses, and who hears of it.

No event carries a query string, userinfo, a header value or a body.
"""

import enum
from dataclasses import dataclass
from typing import ClassVar, Protocol


class StopReason(enum.StrEnum):
    """Why a failed attempt is not made again."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    METHOD_NOT_RETRIED = "method_not_retried"
    BODY_CANNOT_REPLAY = "body_cannot_replay"
    CIRCUIT_OPEN = "circuit_open"
    RETRY_AFTER_TOO_LONG = "retry_after_too_long"
    BUDGET_EMPTY = "budget_empty"
    DEADLINE_TOO_CLOSE = "deadline_too_close"
    TRANSPORT_CLOSED = "transport_closed"


class RejectReason(enum.StrEnum):
    """Why a request is not sent at all."""

    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    RATE_LIMIT = "rate_limit"


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """An attempt failed and will be made again after a wait.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        attempt: Number of the attempt that failed, from 1: that of the retry to come, too.
        max_retries: How many retries the call may take.
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
    """An attempt failed, could have been made again, and will not be.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        attempt: Number of the attempt that failed, from 1.
        max_retries: How many retries the call could have taken.
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
    """A circuit breaker refuses requests from now on.

    Args:
        service: Name of the service, or its `host[:port]`.
        failures: How many attempts failed in a row, or in its window failed or were slow.
        cooldown: Seconds until a probe may go through.
    """

    name: ClassVar[str] = "circuit_opened"

    service: str
    failures: int
    cooldown: float


@dataclass(frozen=True, slots=True)
class CircuitHalfOpened:
    """A circuit breaker's cooldown is over, and it lets probes through."""

    name: ClassVar[str] = "circuit_half_opened"

    service: str


@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """A circuit breaker's probes succeeded: requests flow again."""

    name: ClassVar[str] = "circuit_closed"

    service: str


@dataclass(frozen=True, slots=True)
class RequestRejected:
    """A limit on concurrency or rate refused a request.

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
class RequestHedged:
    """An attempt took long, and a second one was sent beside it.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        after: For how many seconds the first one had been under way.
    """

    name: ClassVar[str] = "request_hedged"

    service: str
    method: str
    path: str
    after: float


@dataclass(frozen=True, slots=True)
class OriginThrottled:
    """A response asked for fewer requests: none is sent to its origin for a while.

    Args:
        service: Name of the service, or its `host[:port]`.
        seconds: How long, in seconds.
        reason: Name of the header that asked.
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
    | RequestHedged
    | OriginThrottled
)


class Listener(Protocol):
    """Hears of events as they happen, in the task that caused them; so it should be quick."""

    def __call__(self, event: Event, /) -> None:
        """Take note of `event`."""
        ...
