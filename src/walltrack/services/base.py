"""The base class of clients for one API."""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from typing import Any, Self, Unpack

import httpx
from pydantic import SecretStr

from walltrack.auth.credentials import AuthTypes
from walltrack.auth.transport import AuthTransport
from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.state import CircuitState
from walltrack.config.settings import Settings, get_settings
from walltrack.core import waiting
from walltrack.core.budget import RetryBudget
from walltrack.core.classification import Classify
from walltrack.core.events import Listener
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.shared_state import SharedState
from walltrack.core.statuses import UNHEALTHY_STATUSES
from walltrack.http.options import HTTPOptions
from walltrack.http.sending import inner_transport
from walltrack.layers import Layer, Limit
from walltrack.retry.policy import RetryPolicy
from walltrack.retry.transport import MAX_RESPONSE_BYTES
from walltrack.services.base_url import BaseURL
from walltrack.services.client_options import ClientOptions, Cookies, EventHooks
from walltrack.services.defaults import guarding, retrying, sole_breaker, timeout_by
from walltrack.services.requests import BodyOptions, RequestBuilder, RequestOptions
from walltrack.services.session import Session
from walltrack.stack import resilient_transport
from walltrack.telemetry.emit import classifier_of
from walltrack.telemetry.log import log_event
from walltrack.timeout.limits import AttemptTimeout

__all__ = ["BaseAPIClient", "BodyOptions", "CircuitBreaker", "CircuitState", "RequestOptions"]


class BaseAPIClient:
    """A client for one API, with retries and a circuit breaker. Subclass it.

        class Dexscreener(BaseAPIClient):
            async def pairs(self, token: str) -> list[dict]:
                response = await self.get(f"/tokens/{token}")
                return response.json()["pairs"]

    The first request opens the connection pool; `close()`, `aclose()` or the end of `async with`
    closes it, and a later request opens a new one. The circuit breaker exists as long as the
    client.

    Args:
        base_url: Root of the API, to which paths are joined. It may contain userinfo, but no query.
            Errors and events show only the path below it, since its own may contain a secret.
        timeout: Seconds to wait for a connection, for each write and for each read, or an
            `httpx.Timeout`. Default: `Settings.http_timeout`.
        headers: Headers of every request. A `SecretStr` is unwrapped only when a request is built.
        params: Query parameters of every request; a `SecretStr` is unwrapped at the same time.
        auth: Credentials, as an httpx client takes them, for each attempt to the origin of
            `base_url`; see `AuthTransport`. Default: the userinfo of `base_url`, if it has some.
        cookies: The cookies of the client. Those that responses set are kept until it is closed, in
            a `CookieJar` that is given for as long as that exists.
        follow_redirects: Whether redirects are followed.
        event_hooks: Async functions for "request" and "response", as with httpx: called once for a
            call, whatever its attempts, and once more for each redirect.
        service: Name of the service in errors and events. Default: `host[:port]`.
        settings: The source of defaults. Default: `get_settings()`.
        transport: What sends the requests, for instance a mock or an ASGI application. Closing the
            client closes it. Default: an `HTTPTransport`, which uses the proxies of the
            environment.
        retry: When a request is retried. Default: by the retry count and backoff of the settings.
        breaker: The circuit breaker; several clients can share one. Default: one for this client,
            by the threshold and cooldown of the settings.
        breaker_key: Requests with the same key share a breaker by the settings. Default: no key.
        breaker_statuses: Responses that the breaker counts as failures. Default: 429 and every 5xx
            except 501 and 505.
        budget: Limits the retries; several clients can share one that is `shared`. Default: one for
            this client, made by `RetryBudget()`.
        deadline: Seconds for a whole call, with its waits. Default: no limit. It and the next six
            are those of `resilient_transport`, and keep their state when the client is closed.
        attempt_timeout: Seconds for one attempt. Default: no limit.
        rate_limit: How many requests are sent per second. Default: no limit.
        concurrency_limit: How many requests may be in flight, or "adaptive". Default: no limit.
        waiting_room: Seconds that a call waits for an open circuit. Default: it does not wait, and
            is rejected at once.
        shared: A `walltrack.fleet.RedisState` for circuit and rate. Default: nothing is shared.
        max_response_bytes: The longest response that is read whole, in bytes as received; it does
            not apply to `stream`.
        classify: Decides what the outcomes of this API mean; a function, or several of which the
            first result that is not None counts. Where none decides, the outcome table does. See
            `walltrack.dialects`.
        listener: Called with the events of all layers; None: no events. Default: log entries.
        sleep: Waits for a number of seconds between attempts; replace it to test without waiting.
        connection: Options of the `HTTPTransport` that is made if no `transport` is given: verify,
            cert, http1, http2, limits, trust_env, proxy, uds, local_address, retries and
            socket_options.

    Raises:
        ValueError: `base_url` is not an absolute http or https URL, or has a query or a fragment;
            `timeout` is not above 0; both `breaker` and `breaker_key` are given.
        TypeError: An argument has another type; an option does not exist, or is one of `connection`
            although there is a `transport`.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        base_url: str | httpx.URL,
        *,
        timeout: float | httpx.Timeout | None = None,
        headers: Mapping[str, str | SecretStr] | None = None,
        params: Mapping[str, Any] | None = None,
        auth: AuthTypes | None = None,
        cookies: Cookies | None = None,
        follow_redirects: bool = False,
        event_hooks: EventHooks | None = None,
        service: str | None = None,
        settings: Settings | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        retry: RetryPolicy | None = None,
        breaker: CircuitBreaker | None = None,
        breaker_key: Callable[[httpx.Request], Hashable] | None = None,
        breaker_statuses: AbstractSet[int] = UNHEALTHY_STATUSES,
        budget: RetryBudget | None = None,
        deadline: float | Layer | None = None,
        attempt_timeout: float | AttemptTimeout | Layer | None = None,
        rate_limit: float | Layer | None = None,
        concurrency_limit: Limit | Layer | None = None,
        waiting_room: float | Layer | None = None,
        shared: SharedState | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        classify: Classify | Sequence[Classify] | None = None,
        listener: Listener | None = log_event,
        sleep: Callable[[float], Awaitable[None]] = waiting.sleep,
        **connection: Unpack[HTTPOptions],
    ) -> None:
        root = BaseURL(base_url)
        settings = settings or get_settings()
        limit = timeout_by(settings, timeout)
        options = ClientOptions(limit, cookies, follow_redirects, event_hooks, auth)
        inner = inner_transport(BaseAPIClient, transport, connection)
        common: dict[str, Any] = {"classify": classifier_of(classify), "listener": listener}
        fleet = {**common, "shared": shared}
        self.service: str = service or root.netloc
        self._breaker = sole_breaker(settings, self.service, breaker, breaker_key)
        stack = resilient_transport(
            AuthTransport(inner, auth, origin=base_url),
            deadline=deadline,
            retry=retrying(settings, retry, budget, max_response_bytes, **common, sleep=sleep),
            rate_limit=rate_limit,
            concurrency_limit=concurrency_limit,
            waiting_room=waiting_room,
            breaker=guarding(settings, self._breaker, breaker_key, breaker_statuses, **fleet),
            attempt_timeout=attempt_timeout,
            **fleet,
            sleep=sleep,
        )
        requests = RequestBuilder(root, headers, params)
        rejects = self._breaker if waiting_room is None and shared is None else None
        self._session = Session(self.service, requests, stack, options, rejects, listener=listener)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.service}, {self._breaker or 'breakers by key'}>"

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        """The stack that sends the requests, for `snapshot`."""
        return self._session.transport

    @property
    def circuit_breaker(self) -> CircuitBreaker:
        """The circuit breaker for all requests of this client.

        Raises:
            AttributeError: There is one for each `breaker_key`.
        """
        if self._breaker is None:
            raise AttributeError("this client has a circuit breaker for each breaker_key")
        return self._breaker

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. This can be repeated; the next request opens new ones."""
        await self._session.close()

    async def aclose(self) -> None:
        """Close the connections, like `close`; httpx uses this name."""
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
            path: Joined to the base URL; an absolute URL of the same origin is used as it is.
            options: As in httpx: params, headers, timeout, auth, follow_redirects, extensions;
                content, data, files, json.

        Raises:
            ExternalServiceError: The final response was a 4xx or 5xx, or there was none.
            CircuitBreakerOpenError: The circuit is open; nothing was sent.
            ValueError: `path` leads to another origin; nothing was sent.
            TypeError: An option is unknown; nothing was sent.
        """
        return await self._session.send(method, path, options)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, **options: Unpack[BodyOptions]
    ) -> AsyncIterator[httpx.Response]:
        """Send a request, and read the body of the response in parts inside the `async with`.

        Options and exceptions are those of `request`. A body that breaks off also raises
        ExternalServiceError; it is not requested again, because the caller already has a part of
        it.
        """
        async with self._session.stream(method, path, options) as response:
            yield response
