"""The transport that sends requests over the network."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

import httpcore2
import httpx

from walltrack.core import family, loops
from walltrack.http.core_errors import is_out_of_streams
from walltrack.http.environment_proxies import rules_by_environment
from walltrack.http.interception import is_intercepted
from walltrack.http.options import DEFAULT_LIMITS, ProxyTypes, SocketOption, checked
from walltrack.http.pool import Pool
from walltrack.http.pools import Pools
from walltrack.http.proxy_rules import ProxyRules
from walltrack.http.stream import close
from walltrack.http.tls import Cert, Verify

_SECURE: Final = frozenset({b"https", b"wss"})


class HTTPTransport(family.AsyncBaseTransport):
    """Send requests over the network, for clients of httpx and of httpx2.

    It replaces `httpx.AsyncHTTPTransport`, and takes the same options. Its connection pool is that
    of httpcore2, which stays fast with hundreds of callers and leaks no connections when calls are
    cancelled.

    - It uses the proxies of the environment, like an httpx client without a transport.
    - After `aclose()` it can be used again, with new connections. A call that is in flight during
      the closing raises TransportClosedError, sends nothing more and leaves no connection open.
    - If several clients share it, the last one that leaves its `async with` closes it. `aclose()`,
      also of a client, closes it at once.
    - While a mock, a recorder or an instrumentation replaces a method of httpx's own transport or
      of httpcore's pool, requests use httpx's transport, so that they are mocked, recorded or
      traced.
    - Each event loop has its own connections. Closing closes those of the event loop that is
      running.

    Args:
        verify: True: trust the usual authorities, which are those of certifi for clients of httpx,
            and those of the operating system for clients of httpx2. A path: trust the authorities
            in that file or folder. False: do not verify certificates. An `ssl.SSLContext` is used
            as it is.
        cert: The client certificate: its path, or a tuple of its path, the path of its key and
            optionally the password of the key.
        http1: Whether to use HTTP/1.1.
        http2: Whether to use HTTP/2 if the server supports it. Needs `httpx[http2]`.
        limits: How many connections may be open, how many of them idle, and for how many seconds:
            100, 20 and 5, as in httpx. Each proxy, family and event loop has its own limits; while
            a pool is being replaced, its calls and its successor have separate limits.
        trust_env: Whether to read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and
            SSL_CERT_DIR. The proxies are read now, and at the first request after each closing.
        proxy: The proxy for all requests: a URL or an `httpx.Proxy`. Default: by the environment.
        uds: The path of a Unix domain socket to connect to; no proxy is used then.
        local_address: The local address to connect from.
        retries: How often to try again to connect to a server. `RetryTransport` retries failed
            connections as well.
        socket_options: Options that are set on each socket: arguments of `socket.setsockopt`.

    Raises:
        TypeError: An option has another type.
        ValueError: An option is out of range, or contradicts another one; or the environment names
            an invalid proxy.
        ImportError: An option needs a package that is not installed.
        OSError: A path, also that of SSL_CERT_FILE, does not lead to a certificate.
    """

    def __init__(
        self,
        *,
        verify: Verify = True,
        cert: Cert | None = None,
        http1: bool = True,
        http2: bool = False,
        limits: httpx.Limits = DEFAULT_LIMITS,
        trust_env: bool = True,
        proxy: ProxyTypes | None = None,
        uds: str | None = None,
        local_address: str | None = None,
        retries: int = 0,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> None:
        self._options = checked(
            verify=verify,
            cert=cert,
            http1=http1,
            http2=http2,
            limits=limits,
            trust_env=trust_env,
            proxy=proxy,
            uds=uds,
            local_address=local_address,
            retries=retries,
            socket_options=socket_options,
        )
        self._rules: ProxyRules | None = self._read_environment()
        self._pools: dict[object, Pools] = {}
        self._entered: dict[object, int] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`.

        Raises:
            TransportClosedError: The transport was closed while the call was in flight.
            TypeError: The request belongs to neither family, or its body is not asynchronous.
        """
        if not hasattr(request.stream, "__aiter__"):
            raise TypeError("the body of the request must be asynchronous, got a synchronous one")
        loop = loops.running()
        pools = self._pools.get(loop) or self._open(loop)
        home = httpx if type(request) is httpx.Request else family.home_of(request)
        if is_intercepted(home):
            return await pools.own_transport_for(home, request).handle_async_request(request)
        resent = False
        while True:
            pool = pools.pool_for(home, request)
            sent = _as_core(request)
            connected = pool.network.connected
            pool.calls += 1
            try:
                response = await pool.core.handle_async_request(sent)
            except BaseException as error:
                # First, because `_clean_up` may close a pool that was replaced.
                explained = pool.explain(request, error) if isinstance(error, Exception) else None
                await _clean_up(pool, sent, connected, error)
                if is_out_of_streams(error) and not (resent or pools.closed):
                    resent = True
                    continue
                if explained is None:
                    raise
                raise explained from error
            body = pool.body_of(request, response)
            if pool.closed:
                await close(body)
                raise pool.closed_error(request)
            made: httpx.Response = home.Response(
                status_code=response.status,
                headers=response.headers,
                stream=body,
                extensions=response.extensions,
            )
            return made

    async def __aenter__(self) -> Self:
        loop = loops.running()
        self._entered[loop] = self._entered.get(loop, 0) + 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Close the connections, unless another client that shares them is still open."""
        loop = loops.running()
        others = self._entered.pop(loop, 1) - 1
        if others > 0:
            self._entered[loop] = others
        else:
            await self.aclose()

    async def aclose(self) -> None:
        """Close all connections of the running event loop, and end the calls on them."""
        self._rules = None
        pools = self._pools.pop(loops.running(), None)
        if pools is not None:
            await pools.close()

    def __repr__(self) -> str:
        proxy = self._options.proxy
        rules = self._rules if proxy is None else ProxyRules({"all": str(proxy.url)})
        return f"{type(self).__name__}({rules if rules and rules.proxies else ''})"

    def describe(self) -> dict[str, Any]:
        """Return the settings, as JSON has them; see `snapshot`."""
        return {"settings": self._options.describe()}

    def _open(self, loop: object) -> Pools:
        for other in tuple(self._pools):
            if loops.is_over(other):
                del self._pools[other]  # nothing can be closed in an event loop that has ended
                self._entered.pop(other, None)
        if self._rules is None:
            self._rules = self._read_environment()
        pools = self._pools[loop] = Pools(self._options, self._rules)
        return pools

    def _read_environment(self) -> ProxyRules | None:
        return rules_by_environment() if self._options.asks_environment else None


async def _clean_up(
    pool: Pool, sent: httpcore2.Request, connected: int, error: BaseException
) -> None:
    """Close connections that a failed call left behind; replace a pool that is unusable."""
    network = pool.network
    if network.connected != connected:
        await network.close_lost(connected, secure=sent.url.scheme in _SECURE)
    network.spoiled |= pool.is_spoiled_by(error)
    await pool.call_ended()


def _as_core(request: httpx.Request) -> httpcore2.Request:
    url = request.url
    return httpcore2.Request(
        request.method,
        httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )
