"""One pool of connections: to servers, or through one proxy, for one family of httpx.

Awaits: connections and bodies are closed here.
"""

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Final

import anyio
import httpcore2
import httpx

from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import TransportClosedError
from walltrack.core.outcome import NOT_SENT_ERRORS
from walltrack.http.core_body import CoreBody
from walltrack.http.core_errors import is_out_of_streams, mapped
from walltrack.http.network import Network, NetworkClosedError
from walltrack.http.options import Options
from walltrack.http.stream import close

_NOWHERE: Final = httpcore2.URL("http://closed.invalid/")
_AT_ONCE: Final = {"timeout": {"pool": 0}}


class Pool:
    """A pool of connections, with the calls that are in flight and the bodies that are open.

    Args:
        options: The options of the transport.
        home: The family that the pool serves.
        proxy: The proxy for all requests; None: they go directly to the server.
        replace: Called when the pool must not get another request.
    """

    def __init__(
        self,
        options: Options,
        home: ModuleType,
        proxy: httpx.Proxy | None,
        replace: Callable[["Pool"], None],
    ) -> None:
        negotiates = proxy is not None and proxy.url.scheme.startswith("socks")
        self.home = home
        self.network: Network = Network(
            options.local_address,
            options.socket_options,
            negotiates=negotiates,
            multiplexes=not options.http1,
        )
        self.core: httpcore2.AsyncConnectionPool = httpcore2.AsyncConnectionPool(
            ssl_context=options.contexts.of(home),
            proxy=None if proxy is None else _as_core(proxy, options, home),
            max_connections=options.limits.max_connections,
            max_keepalive_connections=options.limits.max_keepalive_connections,
            keepalive_expiry=options.limits.keepalive_expiry,
            http1=options.http1,
            http2=options.http2,
            retries=options.retries,
            uds=options.uds,
            network_backend=self.network,
        )
        self._http2 = options.http2
        self._replace = replace
        self.calls: int = 0
        self.closed: bool = False
        self.replaced: bool = False
        self._bodies: set[CoreBody] = set()

    def body_of(self, request: httpx.Request, response: httpcore2.Response) -> CoreBody:
        """Return the body of `response`; the call is in flight until the body is closed."""
        body = CoreBody(request, response, self)
        self._bodies.add(body)
        return body

    async def body_ended(self, body: CoreBody) -> None:
        """Note that a body is closed."""
        self._bodies.discard(body)
        await self.call_ended()

    async def call_ended(self) -> None:
        """Note that a call has ended; if the pool was replaced, the last call closes it."""
        if self.network.spoiled and not self.replaced:
            self.replaced = True
            self._replace(self)
        self.calls -= 1
        if self.replaced and not self.calls:
            await self.close()

    def is_spoiled_by(self, error: BaseException) -> bool:
        """Return whether the connections cannot be used any more after `error`.

        1. An HTTP/2 connection has no stream left.
        2. The exception is not one of httpcore2: a call that was cancelled during the setup of an
           HTTP/2 connection can leave it with a wrong count of its streams.
        """
        if is_out_of_streams(error):
            return True
        unknown = isinstance(error, Exception) and mapped(error, self.home) is None
        return unknown and self._http2

    def explain(self, request: httpx.Request, error: Exception) -> Exception | None:
        """Return the exception to raise instead of one of httpcore2; None to keep it."""
        known = mapped(error, self.home)
        if not self.closed:
            return known
        unsent = isinstance(error, NetworkClosedError) or isinstance(known, NOT_SENT_ERRORS)
        return self.closed_error(request, Delivery.NOT_SENT if unsent else Delivery.UNCERTAIN)

    def closed_error(
        self, request: httpx.Request, delivery: Delivery = Delivery.UNCERTAIN
    ) -> Exception:
        """Return the exception to raise in a call that the closing has ended."""
        return TransportClosedError(delivery=delivery, request=request)

    def end(self) -> None:
        """Reject new requests, and end attempts to connect; call `close` afterwards."""
        self.closed = True
        self.network.close()

    async def close(self) -> None:
        """Close everything, and end the calls in flight."""
        self.end()
        await close(self.core)
        await self.network.close_streams()
        for body in tuple(self._bodies):
            await close(body)
        # httpcore2 now gives waiting calls new connections, which the closed network refuses.
        with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
            nothing = httpcore2.Request(b"GET", _NOWHERE, extensions=_AT_ONCE)
            await self.core.handle_async_request(nothing)


def _as_core(proxy: httpx.Proxy, options: Options, home: ModuleType) -> httpcore2.Proxy:
    context = proxy.ssl_context
    if context is None and proxy.url.scheme == "https":
        context = options.contexts.for_proxies(home)
    return httpcore2.Proxy(
        url=httpcore2.URL(
            scheme=proxy.url.raw_scheme,
            host=proxy.url.raw_host,
            port=proxy.url.port,
            target=proxy.url.raw_path,
        ),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=context,
    )
