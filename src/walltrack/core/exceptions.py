"""The exceptions of this library.

    WallTrackError
    ├── ExternalServiceError            a service failed for good: a final 4xx or 5xx, or none
    ├── ResponseTooLargeError           a body exceeds the limit; also an httpx.TransportError
    ├── TimeLimitExceededError          a call or an attempt took too long; also an
    │                                   httpx.TimeoutException
    └── RequestRejectedError            a layer here refused it; also an httpx.TransportError
        ├── CircuitBreakerOpenError     ... because the service's circuit is open
        │   └── WaitingRoomTimeoutError     and httpx's pool timeout ran out in a waiting room; also
        │                                   an httpx.PoolTimeout
        ├── ConcurrencyLimitError       ... because too many requests are in flight
        │   └── PoolTimeoutExceededError    and httpx's pool timeout ran out in the queue; also an
        │                                   httpx.PoolTimeout
        ├── RateLimitError              ... because too many were sent recently
        └── TransportClosedError        ... because the transport was closed while it waited

Where httpx2 is installed, what is of httpx's classes is of httpx2's as well.

No text or repr of any of them shows userinfo, a query string, a header value or a body.
"""

from typing import Any, Self

import httpx

from walltrack.core import family
from walltrack.core.delivery import Delivery
from walltrack.core.naming import service_of


class WallTrackError(Exception):
    """The root: `except WallTrackError` catches everything that this library raises by itself."""

    def __copy__(self) -> Self:
        """Keep everything, also what pickle has to leave out."""
        clone = type(self).__new__(type(self), *self.args)
        clone.args = self.args
        vars(clone).update(vars(self))
        clone.__cause__, clone.__context__ = self.__cause__, self.__context__
        clone.__suppress_context__ = self.__suppress_context__
        return clone

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()  # fields do not change, and a request's streams cannot be doubled


class ExternalServiceError(WallTrackError):
    """A service failed for good. The httpx error behind it is the `__cause__`.

    Args:
        service: Name of the service.
        message: What happened; free of secrets.
        status_code: Status of the final response; None when there was none.
        attempts: How many attempts were made; None when unknown.
        delivery: Whether the server can have acted on any attempt; None when unknown.
        idempotency_key: The Idempotency-Key that every attempt carried, if there was one. No text
            or repr shows it.
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
        """The final response, when there was one and this error was not pickled meanwhile."""
        cause = self.__cause__
        return cause.response if isinstance(cause, family.STATUS_ERRORS) else None


class _TransportLayerError(WallTrackError, family.TransportError):
    """Raised by a transport of this library: code that knows only httpx handles it."""

    def __init__(self, request: httpx.Request | None) -> None:
        # httpx's own constructors would only hand a text up; ours is made when it is read.
        self.request = request  # type: ignore[assignment]  # httpx takes None, though it is not typed

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out the request: it holds headers and a body, and its streams cannot travel."""
        kept = {k: v for k, v in vars(self).items() if not isinstance(v, family.REQUESTS)}
        return type(self), self.args, kept


class ResponseTooLargeError(_TransportLayerError):
    """A body that was to be read whole is longer than is allowed; the rest was not read.

    Args:
        service: Name of the service that sent it.
        max_bytes: The limit, in bytes as they come over the wire.
        request: The request that was answered.
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


class TimeLimitExceededError(_TransportLayerError, family.TimeoutException):
    """A time limit ran out: that of a whole call, or that of one attempt.

    It is a timeout like any other: one attempt's is retried, and a circuit breaker counts it.

    Args:
        service: Name of the service that took too long.
        seconds: The limit.
        limit: What the limit is called: "deadline" for that of a whole call, "attempt timeout".
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


class RequestRejectedError(_TransportLayerError):
    """A layer of this library refused a request: nothing was sent.

    Rejections are never retried, and no circuit breaker counts them.

    Args:
        service: Name of the service that the request was meant for; by default the request tells.
        retry_after: In how many seconds asking again may help; 0.0 when that is unknown.
        request: The request that was refused.
    """

    _service = ""  # by default the request tells, once somebody asks

    def __init__(
        self,
        service: str | None = None,
        retry_after: float = 0.0,
        *,
        request: httpx.Request | None = None,
    ) -> None:
        if service:
            self._service = service
        self.retry_after = retry_after
        self.request = request  # type: ignore[assignment]  # as above

    @property
    def service(self) -> str:
        """Name of the service that the request was meant for."""
        if not self._service:
            self._service = service_of(self.request) if self.request else "service"
        return self._service

    def __reduce__(self) -> tuple[Any, ...]:
        """As above; what the request tells is kept."""
        _ = self.service
        return super().__reduce__()

    def __str__(self) -> str:
        return f"{self.service}: request refused, nothing was sent"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.service!r}, retry_after={self.retry_after!r})"


class CircuitBreakerOpenError(RequestRejectedError):
    """The service's circuit breaker is open: it failed too often, and is left alone for a while.

    `retry_after` tells in how many seconds the breaker will let a probe through (or, while a probe
    is under way, when that probe loses its place at the latest); infinite when it is forced open.
    `waited` is for how many seconds the request waited for the circuit in a waiting room.
    """

    waited: float = 0.0

    def __str__(self) -> str:
        forced = self.retry_after == float("inf")
        hope = "it was forced open" if forced else f"try again in {self.retry_after:.1f} s"
        return f"{self.service}: circuit breaker is open{self._wait}, request not sent; {hope}"

    @property
    def _wait(self) -> str:
        return f", also after a wait of {self.waited:.1f} s" if self.waited else ""


class WaitingRoomTimeoutError(CircuitBreakerOpenError, family.PoolTimeout):
    """The request waited for its circuit for as long as httpx lets it wait for a connection.

    It is retried like any httpx.PoolTimeout. It is also raised, and not retried, if the circuit is
    certain to stay open for longer than that.
    """

    @property
    def _wait(self) -> str:
        if not self.waited:
            return " for longer than httpx's pool timeout"
        return f"{super()._wait} (httpx's pool timeout)"


class ConcurrencyLimitError(RequestRejectedError):
    """Too many requests are under way, and as many as are allowed wait for their turn already.

    Args:
        waited: For how many seconds this one waited before it was given up; 0.0 if the queue was
            full.
    """

    def __init__(
        self,
        service: str | None = None,
        retry_after: float = 0.0,
        *,
        waited: float = 0.0,
        request: httpx.Request | None = None,
    ) -> None:
        super().__init__(service, retry_after, request=request)
        self.waited = waited

    def __str__(self) -> str:
        why = f"no turn within {self.waited:.1f} s" if self.waited else "the queue is full"
        return f"{self.service}: concurrency limit reached and {why}, request not sent"


class PoolTimeoutExceededError(ConcurrencyLimitError, family.PoolTimeout):
    """The request waited in our queue for as long as httpx lets it wait for a connection.

    Code that handles httpx.PoolTimeout keeps working when a limit takes that wait over.
    """

    def __str__(self) -> str:
        return (
            f"{self.service}: concurrency limit reached and no turn within {self.waited:.1f} s "
            "(httpx's pool timeout), request not sent"
        )


class RateLimitError(RequestRejectedError):
    """The rate limit leaves no room for the request in time.

    `retry_after` tells in how many seconds there would be.
    """

    def __str__(self) -> str:
        return (
            f"{self.service}: rate limit reached, request not sent; "
            f"try again in {self.retry_after:.1f} s"
        )


class TransportClosedError(RequestRejectedError):
    """The transport was closed while the request waited in it.

    It waited for a retry, a turn or a connection, and was not sent; or for its response. The
    transport may be used again; the calls that the closing ended stay ended.

    Args:
        delivery: Whether the server can have acted on the request.
    """

    def __init__(
        self,
        service: str | None = None,
        retry_after: float = 0.0,
        *,
        delivery: Delivery = Delivery.NOT_SENT,
        request: httpx.Request | None = None,
    ) -> None:
        super().__init__(service, retry_after, request=request)
        self.delivery = delivery

    def __str__(self) -> str:
        if self.delivery is Delivery.NOT_SENT:
            why = "while the request waited; it was not sent"
        else:
            why = "before the response was complete"
        return f"{self.service}: the transport was closed {why}"
