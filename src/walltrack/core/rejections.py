"""The exceptions for a request that a layer of this library does not send."""

from typing import Any

import httpx

from walltrack.core import family
from walltrack.core.base_errors import TransportLayerError
from walltrack.core.delivery import Delivery
from walltrack.core.naming import service_of


class RequestRejectedError(TransportLayerError):
    """A layer of this library rejected a request: nothing was sent.

    Rejections are never retried, and no circuit breaker counts them.

    Args:
        service: Name of the service. Default: taken from `request`.
        retry_after: Seconds after which another request may be accepted; 0.0 if unknown.
        request: The request that was rejected.
    """

    _service = ""  # if empty, taken from the request when it is first read

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
        self.request = request  # type: ignore[assignment]  # httpx accepts None as well

    @property
    def service(self) -> str:
        """Name of the service that the request was for."""
        if not self._service:
            try:
                self._service = service_of(self.request)
            except RuntimeError:  # it has no request
                return "service"
        return self._service

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out the request, but keep the name of its service."""
        _ = self.service
        return super().__reduce__()

    def __str__(self) -> str:
        return f"{self.service}: request refused, nothing was sent"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.service!r}, retry_after={self.retry_after!r})"


class CircuitBreakerOpenError(RequestRejectedError):
    """The circuit breaker of the service is open after too many failures.

    `retry_after` is the seconds until the breaker admits a probe. While a probe is in flight, it is
    the seconds until that probe loses its place at the latest. It is infinite if the breaker was
    forced open. `waited` is the seconds that the request waited for the circuit in a waiting room.
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
    """The request waited in a waiting room for longer than httpx's pool timeout.

    It is also an httpx.PoolTimeout, and retried like one. It is also raised, and not retried, if
    the circuit is certain to stay open for longer than that timeout.
    """

    @property
    def _wait(self) -> str:
        if not self.waited:
            return " for longer than httpx's pool timeout"
        return f"{super()._wait} (httpx's pool timeout)"


class ConcurrencyLimitError(RequestRejectedError):
    """Too many requests are in flight, and the queue is full or the wait in it was too long.

    Args:
        waited: How many seconds the request waited in the queue; 0.0 if the queue was full.
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
    """The request waited in the queue of a concurrency limit for longer than httpx's pool timeout.

    It is also an httpx.PoolTimeout, so that code that handles that keeps working.
    """

    def __str__(self) -> str:
        return (
            f"{self.service}: concurrency limit reached and no turn within {self.waited:.1f} s "
            "(httpx's pool timeout), request not sent"
        )


class RateLimitError(RequestRejectedError):
    """The rate limit does not admit the request in time.

    `retry_after` is the seconds after which the limit would admit it.
    """

    def __str__(self) -> str:
        return (
            f"{self.service}: rate limit reached, request not sent; "
            f"try again in {self.retry_after:.1f} s"
        )


class TransportClosedError(RequestRejectedError):
    """The transport was closed while the request waited or was in flight.

    If it waited for a retry, a turn or a connection, it was not sent. The transport can be used
    again, but calls that the closing ended are not resumed.

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
