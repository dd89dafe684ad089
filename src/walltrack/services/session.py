"""The httpx client below a `BaseAPIClient`, and the errors that its calls end with."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.core.events import Listener, RejectReason, RequestRejected
from walltrack.core.exceptions import CircuitBreakerOpenError, RequestRejectedError
from walltrack.core.extensions import REPORT, SERVICE, WHOLE_BODY, CallReport
from walltrack.core.naming import finite
from walltrack.core.observer import Observer
from walltrack.services import failures
from walltrack.services.client_options import ClientOptions
from walltrack.services.requests import (
    BodyOptions,
    RequestBuilder,
    UnbuiltRequest,
    sending,
    shown_path,
)
from walltrack.telemetry.emit import emit


class Session:
    """Send requests through an `httpx.AsyncClient`, which the first request opens.

    Args:
        service: Name of the service in errors and events.
        requests: Builds the requests.
        transport: Sends them; it can be opened again after it was closed.
        options: The options of the client.
        breaker: The circuit breaker that every request meets; None if each key has its own, or if
            it is shared with other processes, and has to ask them.
        listener: Called if that breaker rejects a request before it is built; None: no event. An
            `Observer` observes requests in the transport, so for it each request is built.
    """

    def __init__(
        self,
        service: str,
        requests: RequestBuilder,
        transport: httpx.AsyncBaseTransport,
        options: ClientOptions,
        breaker: CircuitBreaker | None,
        *,
        listener: Listener | None,
    ) -> None:
        self._service = service
        self._requests = requests
        self.transport: httpx.AsyncBaseTransport = transport
        self._options = options
        self._breaker = None if isinstance(listener, Observer) else breaker
        self._listener = listener
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.transport!r})"

    async def close(self) -> None:
        """Close the client if it is open."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def send(
        self, method: str, path: str, options: BodyOptions, *, stream: bool = False
    ) -> httpx.Response:
        """Send a request, and return its response unless it is a 4xx or 5xx.

        Raises:
            ExternalServiceError: The final response was a 4xx or 5xx, or there was none.
            RequestRejectedError: A layer rejected the request. If the circuit is open, this costs a
                small part of what it costs to build a request.
        """
        if self._breaker is not None and (shut_for := self._breaker.shut_for()):
            if self._listener is not None:
                reason, again = RejectReason.CIRCUIT_OPEN, finite(shut_for)
                names = self._service, method, shown_path(path, options)
                emit(self._listener, RequestRejected(*names, reason, again))
            unbuilt = UnbuiltRequest(lambda: self._build(method, path, options))
            raise CircuitBreakerOpenError(self._service, shut_for, request=unbuilt)
        client = self._open()
        report = CallReport()
        request = self._build(method, path, options)
        request.extensions |= {SERVICE: self._service, REPORT: report, WHOLE_BODY: not stream}
        try:
            response = await client.send(request, stream=stream, **sending(options))
        except RequestRejectedError:
            raise
        except (httpx.RequestError, ssl.SSLError) as error:
            failure = failures.of_error(self._service, request, report, error)
        else:
            if not response.is_error:
                return response
            await response.aclose()
            failure = failures.of_response(self._service, report, response)
        try:
            raise failure
        finally:
            del failure  # else it and this frame, in its traceback, would form a reference cycle

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, options: BodyOptions
    ) -> AsyncIterator[httpx.Response]:
        """Send a request, and close its response at the end of the block.

        Raises:
            ExternalServiceError: As in `send`, or the body broke off.
            RequestRejectedError: A layer rejected the request.
        """
        response = await self.send(method, path, options, stream=True)
        try:
            yield response
        except httpx.RequestError as error:
            if failures.request_of(error) is not response.request:
                raise
            report = failures.report_of(response)
            failure = failures.of_error(self._service, response.request, report, error)
        else:
            return
        finally:
            await response.aclose()
        try:
            raise failure
        finally:
            del failure  # as above

    def _build(self, method: str, path: str, options: BodyOptions) -> httpx.Request:
        return self._requests.build(self._open(), method, path, options)

    def _open(self) -> httpx.AsyncClient:
        client = self._client
        if client is None:
            last_hook = self._requests.keep_credentials_home
            client = self._client = self._options.open(self.transport, last_hook)
        return client
