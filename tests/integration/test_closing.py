"""Closing an `HTTPTransport` over real sockets at any step of its calls; and cancelling them."""

import asyncio
import gc
import random
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import httpx
import httpx2
import pytest
import trustme

from tests.integration.fault_server import (
    Exchange,
    FaultServer,
    answer,
    falls_silent,
    late,
    running,
)
from tests.integration.proxy import Proxy, says_nothing
from tests.integration.socks import socks_proxy
from tests.support import Events, until
from walltrack import (
    BaseAPIClient,
    CircuitBreakerTransport,
    Delivery,
    HTTPTransport,
    RetryTransport,
    TransportClosedError,
)

pytestmark = pytest.mark.anyio

Home: TypeAlias = Any  # httpx or httpx2; to a type checker their classes have nothing in common

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])
counts_descriptors = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

AUTHORITY = trustme.CA()
SERVER_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("127.0.0.1").configure_cert(SERVER_TLS)
CLIENT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
AUTHORITY.configure_trust(CLIENT_TLS)

AT_ONCE = 2.0
"""Seconds in which a call has to end; the timeouts of the clients are far longer."""


async def silence(exchange: Exchange) -> None:
    """No answer, until the client closes the connection."""
    await exchange.reader.read()
    exchange.end()


class Call:
    """A call in a task of its own, and how it ended."""

    def __init__(self, client: httpx.AsyncClient, url: str, **options: Any) -> None:  # noqa: ANN401 - handed on
        self._client = client
        self._url = url
        self._options = options
        self.error: TransportClosedError | None = None

    async def __call__(self) -> None:
        """Make the call, which the closing is to end."""
        with pytest.raises(TransportClosedError) as caught:
            await self._client.get(self._url, **self._options)
        self.error = caught.value


@asynccontextmanager
async def closed_meanwhile(transport: HTTPTransport, *calls: Call) -> AsyncIterator[None]:
    """Close a transport when the block is done, while calls are in flight: they end at once."""
    with anyio.fail_after(AT_ONCE):
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call)
            yield
            await transport.aclose()
    assert all(call.error is not None for call in calls)


def client_over(home: Home, transport: HTTPTransport) -> Any:  # noqa: ANN401 - of either family
    """A client whose timeouts would not end a call in time."""
    return home.AsyncClient(transport=transport, timeout=30)


@each_family
async def test_a_call_that_waits_for_its_response_ends(server: FaultServer, home: Home) -> None:
    """The server may have acted on it; the transport serves later calls with a new connection."""
    server.will(silence)
    transport = HTTPTransport()
    client = client_over(home, transport)
    call = Call(client, server.url)
    async with closed_meanwhile(transport, call):
        await until(lambda: len(server.seen) == 1)
    assert call.error is not None
    assert isinstance(call.error, home.TransportError)
    assert call.error.delivery is Delivery.UNCERTAIN
    assert isinstance(call.error.request, home.Request)
    await until(lambda: server.open_connections == 0)
    assert (await client.get(server.url)).status_code == 200
    await client.aclose()
    await until(lambda: server.open_connections == 0)


@each_family
async def test_a_call_stays_ended_where_the_transport_is_used_again_at_once(
    server: FaultServer, home: Home
) -> None:
    """It is not sent again on one of the new connections."""
    server.will(silence)
    transport = HTTPTransport()
    client = client_over(home, transport)
    async with closed_meanwhile(transport, Call(client, f"{server.url}/before")):
        await until(lambda: len(server.seen) == 1)
        await transport.aclose()
        await client.get(f"{server.url}/after")
    await client.aclose()
    assert [seen.target for seen in server.seen] == ["/before", "/after"]


@each_family
async def test_calls_that_wait_for_a_connection_end(server: FaultServer, home: Home) -> None:
    """They end although the only connection of the pool holds a response that is not read."""
    server.default = falls_silent(content_length="8")
    transport = HTTPTransport(limits=home.Limits(max_connections=1))
    client = client_over(home, transport)
    calls = [Call(client, server.url) for _ in range(3)]
    async with client.stream("GET", server.url) as response:
        async with closed_meanwhile(transport, *calls):
            await anyio.wait_all_tasks_blocked()
        assert [call.error.delivery for call in calls if call.error] == [Delivery.NOT_SENT] * 3
        with pytest.raises(TransportClosedError):
            await response.aread()
    await until(lambda: server.open_connections == 0)
    assert len(server.seen) == 1


@each_family
async def test_a_body_that_is_being_read_ends(server: FaultServer, home: Home) -> None:
    """It ends with an error, so that it does not seem to be complete."""
    server.default = falls_silent(content_length="8")
    transport = HTTPTransport()
    client = client_over(home, transport)
    async with closed_meanwhile(transport, Call(client, server.url)):
        await until(lambda: len(server.seen) == 1)
        await anyio.wait_all_tasks_blocked()
    await until(lambda: server.open_connections == 0)


@each_family
async def test_a_body_without_a_length_does_not_seem_whole(server: FaultServer, home: Home) -> None:
    """Its end is the end of the connection, so closing the transport has to raise an error."""

    async def until_the_end(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await silence(exchange)

    server.default = until_the_end
    transport = HTTPTransport()
    client = client_over(home, transport)
    async with closed_meanwhile(transport, Call(client, server.url)):
        await until(lambda: len(server.seen) == 1)
        await anyio.wait_all_tasks_blocked()


@contextmanager
def never_shaking_hands(kind: str, proxy: Proxy) -> Iterator[dict[str, Any]]:
    """A way to a server on which connecting comes to a halt."""
    if kind == "tunnel":
        proxy.instead = says_nothing
        yield {"proxy": f"http://127.0.0.1:{proxy.port}"}
    elif kind == "SOCKS":
        with socks_proxy() as socks:
            socks.instead = says_nothing
            yield {"proxy": f"socks5://127.0.0.1:{socks.port}"}
    elif kind == "tunnel, then TLS":
        yield {"proxy": f"http://127.0.0.1:{proxy.port}"}
    else:
        yield {}


@each_family
@pytest.mark.parametrize("kind", ["TLS", "tunnel", "tunnel, then TLS", "SOCKS"])
async def test_a_call_that_is_connecting_ends(
    server: FaultServer, proxy: Proxy, home: Home, kind: str
) -> None:
    """It ends at once and leaves no connection; here the server never answers the first step."""
    secure = server.url.replace("http:", "https:")  # it takes the handshake for a request
    with never_shaking_hands(kind, proxy) as way:
        transport = HTTPTransport(verify=CLIENT_TLS, **way)
        call = Call(client_over(home, transport), secure)
        async with closed_meanwhile(transport, call):
            before = server.connections
            await until(lambda: server.connections > before or bool(proxy.asked) or "SOCKS" in kind)
            await anyio.sleep(0.02)
        assert call.error is not None
        await until(lambda: server.open_connections == 0)
        if kind in {"TLS", "tunnel, then TLS"}:
            assert call.error.delivery is Delivery.NOT_SENT


@each_family
async def test_a_connecting_call_of_a_given_pool_leaves_no_connection(
    server: FaultServer, home: Home
) -> None:
    """Httpx's own pool lets it connect after the close; the layer around closes the connection."""
    transport = RetryTransport(home.AsyncHTTPTransport(verify=CLIENT_TLS))
    client = client_over(home, transport)
    connecting, closed = anyio.Event(), anyio.Event()

    async def trace(event: str, _: object) -> None:
        if event == "connection.connect_tcp.started":
            connecting.set()
            await closed.wait()

    call = Call(client, server.url, extensions={"trace": trace})
    with anyio.fail_after(AT_ONCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await connecting.wait()
            await client.aclose()
            closed.set()
    assert call.error is not None
    await until(lambda: server.open_connections == 0)
    assert len(server.seen) <= 1


@each_family
async def test_a_call_that_waits_to_connect_again_ends(home: Home) -> None:
    """It ends between the connection attempts of `retries`."""
    transport = HTTPTransport(retries=100)
    call = Call(client_over(home, transport), "http://127.0.0.1:1/")
    async with closed_meanwhile(transport, call):
        await anyio.sleep(0.02)
    assert call.error is not None
    assert call.error.delivery is Delivery.NOT_SENT


@each_family
async def test_closing_counts_against_no_service(
    server: FaultServer, events: Events, home: Home
) -> None:
    """The breaker does not count a closed call, and nothing is retried."""
    server.default = silence
    http = HTTPTransport()
    breaker = CircuitBreakerTransport(http, failure_threshold=1, listener=events)
    client = client_over(home, RetryTransport(breaker, listener=events))
    async with closed_meanwhile(http, Call(client, server.url)):
        await until(lambda: len(server.seen) == 1)
    assert breaker.breaker_for(server.url).failure_count == 0
    assert events.names == ["retry_stopped"]
    assert events.stops == ["transport_closed"]
    assert len(server.seen) == 1


async def test_closing_a_client_of_an_api_ends_its_calls(server: FaultServer) -> None:
    """And the next request opens new connections."""
    server.will(silence)
    client = BaseAPIClient(server.url, listener=None)

    async def call() -> None:
        with pytest.raises(TransportClosedError):
            await client.get("/before")

    with anyio.fail_after(AT_ONCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: len(server.seen) == 1)
            await client.close()
    assert client.circuit_breaker.failure_count == 0
    assert (await client.get("/after")).status_code == 200
    await client.close()
    await until(lambda: server.open_connections == 0)


# Over and over


def descriptors() -> set[tuple[str, str]]:
    """The files and sockets that this process has open; threads of other tests may close theirs."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder itself, which is closed by now
            found.add((path.name, str(path.readlink())))
    return found


class Callers:
    """Thirty callers that continue after every outcome, and the counts of the outcomes."""

    def __init__(self, client: Any, url: str) -> None:  # noqa: ANN401 - of either family
        self._client = client
        self._url = url
        self.outcomes: Counter[Any] = Counter()
        self.done = False

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Have all of them call while the block runs."""
        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(self._call_on, number)
            yield
            self.done = True

    async def _call_on(self, number: int) -> None:
        while not self.done:
            try:
                if number % 3:
                    response = await self._client.get(self._url)
                else:
                    async with self._client.stream("GET", self._url) as response:
                        async for _ in response.aiter_raw():
                            await anyio.lowlevel.checkpoint()
            except TransportClosedError:
                self.outcomes["closed"] += 1
            else:
                self.outcomes[response.status_code] += 1


@counts_descriptors
@each_family
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_closing_over_and_over_leaks_nothing(*, home: Home, secure: bool) -> None:
    """It is closed every few milliseconds; each call of thirty callers succeeds or is closed."""
    with running(SERVER_TLS if secure else None) as server:
        server.default = late(0.002, answer(200, b"x" * 20_000))
        gc.collect()  # what earlier tests left would be collected below
        before = descriptors()
        transport = HTTPTransport(verify=CLIENT_TLS, limits=home.Limits(max_connections=10))
        callers = Callers(client_over(home, transport), server.url)
        async with callers.calling():
            for _ in range(15):
                await anyio.sleep(0.005)
                await transport.aclose()
        await transport.aclose()
        await until(lambda: server.open_connections == 0)
        gc.collect()
        await anyio.sleep(0.01)  # for asyncio to close what it has to close
        assert descriptors() - before == set()
        assert set(callers.outcomes) <= {"closed", 200}
        assert callers.outcomes["closed"] > 50


@counts_descriptors
@each_family
@pytest.mark.parametrize("way", ["http", "https", "tunnel", "SOCKS"])
async def test_cancelling_over_and_over_takes_no_place_in_the_pool(
    proxy: Proxy, home: Home, way: str
) -> None:
    """Thirty callers share one connection, and give up at any moment: it serves afterwards."""
    rng = random.Random(7)  # noqa: S311 - moments to give up at
    before = descriptors()
    with socks_proxy() as socks, running(None if way == "http" else SERVER_TLS) as server:
        server.default = late(0.001, answer(200, b"x" * 20_000))
        proxies = {
            "tunnel": f"http://127.0.0.1:{proxy.port}",
            "SOCKS": f"socks5://127.0.0.1:{socks.port}",
        }
        limits = home.Limits(max_connections=1)
        transport = HTTPTransport(verify=CLIENT_TLS, proxy=proxies.get(way), limits=limits)
        client = home.AsyncClient(transport=transport, timeout=5)

        async def give_up() -> None:
            for _ in range(8):
                with anyio.move_on_after(rng.choice([0.0005, 0.003, 0.01, 0.02])):
                    await client.get(server.url)

        async with anyio.create_task_group() as callers:
            for _ in range(30):
                callers.start_soon(give_up)
        for _ in range(3):
            assert (await client.get(server.url)).status_code == 200
        await client.aclose()
        await until(lambda: server.open_connections == 0)
    gc.collect()
    await anyio.sleep(0.01)
    assert descriptors() - before == set()


def comes_true(condition: Callable[[], bool]) -> bool:
    """Wait until the thread of the server has caught up with its client."""
    ends = time.monotonic() + AT_ONCE
    while not condition() and time.monotonic() < ends:
        time.sleep(0.001)
    return condition()


@counts_descriptors
@each_family
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_may_live_through_many_event_loops(home: Home) -> None:
    """As with `asyncio.run` for every job; connections of an event loop that ended are dropped."""
    with running() as server:
        gc.collect()  # what earlier tests left would be collected below
        before = descriptors()
        client = home.AsyncClient(transport=HTTPTransport(), timeout=5)

        async def job() -> int:
            status: int = (await client.get(server.url)).status_code
            return status

        async def last_job() -> int:
            status = await job()
            await client.aclose()
            return status

        assert [asyncio.run(job()) for _ in range(4)] == [200] * 4
        assert asyncio.run(last_job()) == 200
        gc.collect()
        assert comes_true(lambda: len(descriptors() - before) <= server.open_connections)
        assert server.connections == 5
