"""The exceptions of this library.

    WallTrackError
    ├── ExternalServiceError            a call failed finally: with a 4xx or 5xx, or no response
    ├── ResponseTooLargeError           a body exceeds the limit; also an httpx.TransportError
    ├── TimeLimitExceededError          a call or an attempt took too long; also an
    │                                   httpx.TimeoutException
    └── RequestRejectedError            a layer did not send it; also an httpx.TransportError
        ├── CircuitBreakerOpenError     ... because the circuit of the service is open
        │   └── WaitingRoomTimeoutError     and httpx's pool timeout ended in the waiting room; also
        │                                   an httpx.PoolTimeout
        ├── ConcurrencyLimitError       ... because too many requests are in flight
        │   └── PoolTimeoutExceededError    and httpx's pool timeout ended in the queue; also an
        │                                   httpx.PoolTimeout
        ├── RateLimitError              ... because too many were sent recently
        └── TransportClosedError        ... because the transport was closed while it waited

Once a program has imported httpx2, an exception that is also one of httpx is also one of httpx2.

No text or repr of any of them contains userinfo, a query string, a header value or a body.
"""

import httpx

from walltrack.core import family
from walltrack.core.base_errors import TransportLayerError, WallTrackError
from walltrack.core.delivery import Delivery
from walltrack.core.rejections import (
    CircuitBreakerOpenError,
    ConcurrencyLimitError,
    PoolTimeoutExceededError,
    RateLimitError,
    RequestRejectedError,
    TransportClosedError,
    WaitingRoomTimeoutError,
)

__all__ = [
    "CircuitBreakerOpenError",
    "ConcurrencyLimitError",
    "ExternalServiceError",
    "PoolTimeoutExceededError",
    "RateLimitError",
    "RequestRejectedError",
    "ResponseTooLargeError",
    "TimeLimitExceededError",
    "TransportClosedError",
    "WaitingRoomTimeoutError",
    "WallTrackError",
]


class ExternalServiceError(WallTrackError):
    """A call to a service failed finally. The httpx error that ended it is the `__cause__`.

    Args:
        service: Name of the service.
        message: What happened, without secrets.
        status_code: Status of the final response; None if there was none.
        attempts: How many attempts were made; None if unknown.
        delivery: Whether the server can have acted on any attempt; None if unknown.
        idempotency_key: The Idempotency-Key of every attempt, if there was one. No text or repr
            shows it.
    """

    def __init__(
        self,
        service: str,
        message: str,
        status_code: int | None = None,
        *,
        attempts: int | None = None,
        delivery: Delivery | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(service, message, status_code)
        self.service = service
        self.message = message
        self.status_code = status_code
        self.attempts = attempts
        self.delivery = delivery
        self.idempotency_key = idempotency_key

    def __str__(self) -> str:
        return f"{self.service}: {self.message}"

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.service!r}, {self.message!r}, "
            f"status_code={self.status_code!r}, attempts={self.attempts!r}, "
            f"delivery={self.delivery and self.delivery.value!r})"
        )

    @property
    def response(self) -> httpx.Response | None:
        """The final response; None if there was none, or after pickling."""
        cause = self.__cause__
        return cause.response if isinstance(cause, family.STATUS_ERRORS) else None


class ResponseTooLargeError(TransportLayerError):
    """A response body that had to be read into memory exceeds the limit; the rest was not read.

    Args:
        service: Name of the service that sent it.
        max_bytes: The limit, in bytes as received (before decompression).
        request: The request that the response answers.
    """

    def __init__(
        self, service: str, max_bytes: int, *, request: httpx.Request | None = None
    ) -> None:
        super().__init__(request)
        self.service = service
        self.max_bytes = max_bytes

    def __str__(self) -> str:
        return (
            f"{self.service}: the response is longer than max_response_bytes={self.max_bytes}; "
            "raise the limit, or stream the response"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.service!r}, max_bytes={self.max_bytes!r})"


class TimeLimitExceededError(TransportLayerError, family.TimeoutException):
    """A call or an attempt exceeded its time limit.

    It is treated like any other timeout: if it ended one attempt, that is retried, and a circuit
    breaker counts it as a failure.

    Args:
        service: Name of the service that took too long.
        seconds: The limit, in seconds.
        limit: Name of the limit: "deadline" for that of a call, "attempt timeout" for that of an
            attempt.
        request: The request that was not answered in time.
    """

    def __init__(
        self,
        service: str,
        seconds: float,
        limit: str = "timeout",
        *,
        request: httpx.Request | None = None,
    ) -> None:
        super().__init__(request)
        self.service = service
        self.seconds = seconds
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.service}: not done within {self.seconds:g} s ({self.limit})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.service!r}, {self.seconds!r}, {self.limit!r})"
