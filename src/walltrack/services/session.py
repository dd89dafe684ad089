"""The httpx client below a `BaseAPIClient`, and the errors that its calls end with."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from walltrack.core.exceptions import RequestRejectedError
from walltrack.core.extensions import REPORT, SERVICE, WHOLE_BODY, CallReport
from walltrack.services import failures
from walltrack.services.requests import BodyOptions, RequestBuilder, sending


class Session:
    """Send requests through an `httpx.AsyncClient`, which the first request opens.

    Args:
        service: Name of the service in errors and events.
        requests: Builds the requests.
        transport: Sends them; it can be opened again after it was closed.
        timeout: The timeout of the client.
    """

    def __init__(
        self,
        service: str,
        requests: RequestBuilder,
        transport: httpx.AsyncBaseTransport,
        timeout: float | httpx.Timeout,
    ) -> None:
        self._service = service
        self._requests = requests
        self._transport = transport
        self._timeout = timeout
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport!r})"

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
            RequestRejectedError: A layer rejected the request.
        """
        client = self._client = self._client or self._open()
        report = CallReport()
        request = self._requests.build(client, method, path, options)
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

    def _open(self) -> httpx.AsyncClient:
        hooks = {"request": [self._requests.keep_credentials_home]}
        return httpx.AsyncClient(
            transport=self._transport, timeout=self._timeout, event_hooks=hooks
        )
