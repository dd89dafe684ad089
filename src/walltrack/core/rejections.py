"""The exceptions for a request that a layer of this library does not send."""

from typing import Any

import httpx

from walltrack.core import family
from walltrack.core.base_errors import TransportLayerError
from walltrack.core.delivery import Delivery
from walltrack.core.naming import service_of


class RequestRejectedError(TransportLayerError):
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
    """

    def __str__(self) -> str:
        forced = self.retry_after == float("inf")
        hope = "it was forced open" if forced else f"try again in {self.retry_after:.1f} s"
        return f"{self.service}: circuit breaker is open, request not sent; {hope}"


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
