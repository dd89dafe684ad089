"""The base class of clients for one API each."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

import httpx
from pydantic import SecretStr

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.state import CircuitState
from walltrack.config.settings import Settings, get_settings
from walltrack.core import validation, waiting
from walltrack.core.budget import RetryBudget
from walltrack.core.classification import Classify
from walltrack.core.events import Listener
from walltrack.core.exceptions import RequestRejectedError
from walltrack.core.extensions import REPORT, SERVICE, WHOLE_BODY, CallReport
from walltrack.core.named import shows_defaults_by_name
from walltrack.retry.policy import RetryPolicy
from walltrack.retry.transport import MAX_RESPONSE_BYTES, RetryTransport
from walltrack.services import failures
from walltrack.services.base_url import BaseURL
from walltrack.services.defaults import breaker_by, policy_by
from walltrack.services.requests import BodyOptions, RequestBuilder, RequestOptions, sending
from walltrack.stack import Layer, Limit, resilient_transport
from walltrack.telemetry.emit import classifier_of
from walltrack.telemetry.log import log_event
from walltrack.timeout.limits import AttemptTimeout

__all__ = ["BaseAPIClient", "BodyOptions", "CircuitBreaker", "CircuitState", "RequestOptions"]


class BaseAPIClient:
    """A client for one API that retries what may succeed and leaves a failing service alone.

        class Dexscreener(BaseAPIClient):
            async def pairs(self, token: str) -> list[dict]:
                response = await self.get(f"/tokens/{token}")
                return response.json()["pairs"]

    The connection pool is made by the first request and closed by `close()`, `aclose()` or the end
    of `async with`; a later request makes a new one. The circuit breaker lives as long as the
    client.

    Args:
        base_url: Root of the API; paths are joined to it. It may carry userinfo, but no query.
        timeout: Seconds to wait for a connection, a write and each read, or an `httpx.Timeout`.
            Default: `Settings.http_timeout`.
        headers: Sent with every request. A `SecretStr` is unwrapped only when one is built.
        params: Query parameters of every request; a `SecretStr` is unwrapped there too.
        service: Name of the service in errors and events. Default: `host[:port]`.
        settings: Where defaults come from. Default: `get_settings()`.
        transport: What sends the requests: a mock, an ASGI application, a proxy's. Closing the
            client closes it. Default: one for each opening, by the proxies that the environment
            names then.
        retry: When a request is retried. Default: by the settings' retry count and backoff.
        breaker: The circuit breaker; give several clients one to share it. Default: one of its
            own, by the settings' threshold and cooldown.
        budget: What retries are paid from; give several clients one that is `shared`. Default: one
            of its own, as `RetryBudget()` makes it.
        deadline: Seconds for a whole call, waits included. Default: no limit. This and the next
            four are those of `resilient_transport`, and outlive the connections.
        attempt_timeout: Seconds for one attempt. Default: no limit.
        rate_limit: How many requests are sent a second. Default: no limit.
        concurrency_limit: How many are under way at a time, or "adaptive". Default: no limit.
        waiting_room: For how many seconds a call waits for an open circuit. Default: it does not
            wait, and is rejected at once.
        max_response_bytes: The longest response that is read whole, in bytes as they come over the
            wire; `stream` knows no limit.
        classify: Says what the outcomes of this API mean, where that differs from the default; of
            several functions the first one that says something wins. See `walltrack.dialects`.
        listener: Called with the events of all layers; None for no events. Default: a log entry
            each.
        sleep: Waits for the given seconds between attempts; replace it to test without waiting.

    Raises:
        ValueError: `base_url` is no absolute http or https URL, or has a query or a fragment;
            `timeout` is not above 0.
        TypeError: An argument is of another type.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        base_url: str | httpx.URL,
        *,
        timeout: float | httpx.Timeout | None = None,
        headers: Mapping[str, str | SecretStr] | None = None,
        params: Mapping[str, Any] | None = None,
        service: str | None = None,
        settings: Settings | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        retry: RetryPolicy | None = None,
        breaker: CircuitBreaker | None = None,
        budget: RetryBudget | None = None,
        deadline: float | Layer | None = None,
        attempt_timeout: float | AttemptTimeout | Layer | None = None,
        rate_limit: float | Layer | None = None,
        concurrency_limit: Limit | Layer | None = None,
        waiting_room: float | Layer | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        classify: Classify | Sequence[Classify] | None = None,
        listener: Listener | None = log_event,
        sleep: Callable[[float], Awaitable[None]] = waiting.sleep,
    ) -> None:
        root = BaseURL(base_url)
        self.service: str = service or root.netloc
        settings = settings or get_settings()
        if not isinstance(timeout, httpx.Timeout | None):
            validation.positive("timeout", timeout)
        validation.instance("retry", retry, RetryPolicy | None)
        validation.instance("breaker", breaker, CircuitBreaker | None)
        validation.instance("budget", budget, RetryBudget | None)
        self._timeout = settings.http_timeout if timeout is None else timeout
        self._requests = RequestBuilder(root, headers, params)
        self._breaker = breaker or breaker_by(settings, self.service)
        classifier = classifier_of(classify)
        self._stack = resilient_transport(
            transport,
            deadline=deadline,
            retry=partial(
                RetryTransport,
                policy=retry or policy_by(settings),
                budget=budget or RetryBudget(),
                max_response_bytes=max_response_bytes,
                classify=classifier,
                listener=listener,
                sleep=sleep,
            ),
            rate_limit=rate_limit,
            concurrency_limit=concurrency_limit,
            waiting_room=waiting_room,
            breaker=self._breaker,
            attempt_timeout=attempt_timeout,
            classify=classifier,
            listener=listener,
            sleep=sleep,
        )
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.service}, {self._breaker!r}>"

    @property
    def circuit_breaker(self) -> CircuitBreaker:
        """The circuit breaker that every request goes through."""
        return self._breaker

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Closing twice is fine; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def aclose(self) -> None:
        """Close the connections: `close` by the name that it has in httpx."""
        await self.close()

    async def get(self, path: str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a GET; see `request`."""
        return await self.request("GET", path, **options)

    async def head(self, path: str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a HEAD; see `request`."""
        return await self.request("HEAD", path, **options)

    async def post(self, path: str, **options: Unpack[BodyOptions]) -> httpx.Response:
        """Send a POST; see `request`."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Unpack[BodyOptions]) -> httpx.Response:
        """Send a PUT; see `request`."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Unpack[BodyOptions]) -> httpx.Response:
        """Send a PATCH; see `request`."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a DELETE; see `request`."""
        return await self.request("DELETE", path, **options)

    async def request(
        self, method: str, path: str, **options: Unpack[BodyOptions]
    ) -> httpx.Response:
        """Send a request and read the whole response.

        Args:
            method: HTTP method.
            path: Joined to the base URL; an absolute URL of the same origin is taken as it is.
            options: As httpx knows them: params, headers, timeout, auth, follow_redirects,
                extensions; content, data, files, json.

        Raises:
            ExternalServiceError: The final answer was a 4xx or 5xx, or there was none.
            CircuitBreakerOpenError: The circuit is open; nothing was sent.
            ValueError: `path` leads to another origin; nothing was sent.
            TypeError: An option has another name; nothing was sent.
        """
        return await self._send(method, path, options, stream=False)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, **options: Unpack[BodyOptions]
    ) -> AsyncIterator[httpx.Response]:
        """Send a request; the body of the response is read inside the `async with`, as it comes.

        Takes and raises what `request` does. A body that breaks off raises ExternalServiceError,
        too; it is not asked for again, since a part of it was already handed out.
        """
        response = await self._send(method, path, options, stream=True)
        try:
            yield response
        except httpx.RequestError as error:
            if failures.request_of(error) is not response.request:
                raise
            report = CallReport(failures.attempts_of(response))
            failure = failures.of_error(self.service, response.request, report, error)
        else:
            return
        finally:
            await response.aclose()
        try:
            raise failure
        finally:
            del failure  # or it and this frame, in its traceback, would hold each other

    async def _send(
        self, method: str, path: str, options: BodyOptions, *, stream: bool
    ) -> httpx.Response:
        client = self._client = self._client or self._open()
        report = CallReport()
        request = self._requests.build(client, method, path, options)
        request.extensions |= {SERVICE: self.service, REPORT: report, WHOLE_BODY: not stream}
        try:
            response = await client.send(request, stream=stream, **sending(options))
        except RequestRejectedError:
            raise
        except (httpx.RequestError, ssl.SSLError) as error:
            failure = failures.of_error(self.service, request, report, error)
        else:
            if not response.is_error:
                return response
            await response.aclose()
            failure = failures.of_response(self.service, report, response)
        try:
            raise failure
        finally:
            del failure  # as above

    def _open(self) -> httpx.AsyncClient:
        hooks = {"request": [self._requests.keep_credentials_home]}
        return httpx.AsyncClient(transport=self._stack, timeout=self._timeout, event_hooks=hooks)
