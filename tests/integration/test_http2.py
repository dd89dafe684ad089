"""`HTTPTransport` over HTTP/2: a connection whose streams are used up, closings, cancellations."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import anyio
import httpx
import httpx2
import pytest
import trustme

from tests.integration.h2_server import HANGS, STREAMS, H2Server, serving
from tests.support import until
from walltrack import (
    BaseAPIClient,
    HedgingTransport,
    HTTPTransport,
    RetryBudget,
    RetryPolicy,
    TimeoutTransport,
    TransportClosedError,
    resilient_transport,
)

pytestmark = pytest.mark.anyio

Home: TypeAlias = Any  # httpx or httpx2; to a type checker their classes have nothing in common

Layer: TypeAlias = Callable[[HTTPTransport], httpx.AsyncBaseTransport]

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])

LIMIT = 0.2
"""Seconds after which a call is given up; one that is answered has time enough."""

AUTHORITY = trustme.CA()
TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
AUTHORITY.configure_trust(TRUSTING)


@pytest.fixture
def server() -> Iterator[H2Server]:
    """A server that speaks HTTP/2 alone."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(tls)
    with serving(tls) as made:
        yield made


def over_http2() -> HTTPTransport:
    """A transport that trusts the server."""
    return HTTPTransport(verify=TRUSTING, http2=True)


def limited(http: HTTPTransport) -> httpx.AsyncBaseTransport:
    """A time limit for each call."""
    return TimeoutTransport(http, LIMIT)


def hedged(http: HTTPTransport) -> httpx.AsyncBaseTransport:
    """A second attempt for each call that takes long."""
    budget = RetryBudget(capacity=1000)
    return TimeoutTransport(HedgingTransport(http, LIMIT / 4, listener=None, budget=budget), LIMIT)


def whole(http: HTTPTransport) -> httpx.AsyncBaseTransport:
    """A time limit for each attempt."""
    policy = RetryPolicy(max_retries=0)
    return resilient_transport(
        http, attempt_timeout=LIMIT, retry=policy, breaker=None, listener=None
    )


def bare(http: HTTPTransport) -> httpx.AsyncBaseTransport:
    """Nothing but the transport: here the caller gives up."""
    return http


async def give_up(
    client: Any,  # noqa: ANN401 - of either family
    server: H2Server,
    calls: int,
    *expected: type[Exception],
) -> None:
    """Make calls at once that are not answered, and have each given up."""

    async def call() -> None:
        with anyio.move_on_after(LIMIT), suppress(*expected):
            await client.get(f"{server.url}{HANGS}")

    async with anyio.create_task_group() as tasks:
        for _ in range(calls):
            tasks.start_soon(call)


@each_family
async def test_requests_share_a_connection(server: H2Server, home: Home) -> None:
    """Their responses have the ids of their streams."""
    async with home.AsyncClient(transport=over_http2(), timeout=5) as client:
        responses = [await client.get(server.url) for _ in range(3)]
    assert [(r.http_version, r.text) for r in responses] == [("HTTP/2", "ok")] * 3
    assert [r.extensions["stream_id"] for r in responses] == [1, 3, 5]
    assert server.connections == 1
    await until(lambda: server.open_connections == 0)


@each_family
async def test_the_options_of_the_connection_reach_it_through_a_stack(
    server: H2Server, home: Home
) -> None:
    """Beneath a client, which would ignore its own `verify` and `http2`, or in a client of ours."""
    transport = resilient_transport(verify=TRUSTING, http2=True)
    async with home.AsyncClient(transport=transport) as client:
        assert (await client.get(f"{server.url}/ok")).http_version == "HTTP/2"
    async with BaseAPIClient(server.url, verify=TRUSTING, http2=True) as api:
        assert (await api.get("/ok")).http_version == "HTTP/2"


@each_family
@pytest.mark.parametrize("layer", [bare, limited, hedged, whole])
async def test_calls_that_are_given_up_do_not_use_up_the_service(
    server: H2Server, home: Home, layer: Layer
) -> None:
    """httpcore2 never resets their streams: when none is left, another connection takes over."""
    async with home.AsyncClient(transport=layer(over_http2()), timeout=5) as client:
        for _ in range(2):
            await give_up(client, server, STREAMS, home.TimeoutException)
        for _ in range(5):
            assert (await client.get(f"{server.url}/ok")).status_code == 200
    assert server.paths.count(HANGS) >= 2 * STREAMS
    assert server.connections > 2
    await until(lambda: server.open_connections == 0)


@each_family
async def test_a_connection_out_of_streams_serves_the_calls_that_it_has(
    server: H2Server, home: Home
) -> None:
    """It is closed when the last of its calls ends, although the transport stays open."""
    async with home.AsyncClient(transport=over_http2(), timeout=5) as client:
        async with client.stream("GET", f"{server.url}/ok") as response:
            await give_up(client, server, STREAMS - 1)
            await give_up(client, server, 1)
            assert (await client.get(f"{server.url}/ok")).text == "ok"
            assert server.open_connections == 2
            assert await response.aread() == b"ok"
        await until(lambda: server.open_connections == 1)
        assert (await client.get(f"{server.url}/ok")).text == "ok"
        assert server.connections == 2


@each_family
async def test_many_callers_that_find_no_stream_at_once_are_all_served(
    server: H2Server, home: Home
) -> None:
    """One new connection serves all of them."""
    async with home.AsyncClient(transport=over_http2(), timeout=5) as client:
        await give_up(client, server, STREAMS)
        statuses: list[int] = []

        async def get() -> None:
            statuses.append((await client.get(f"{server.url}/ok")).status_code)

        async with anyio.create_task_group() as callers:
            for _ in range(3 * STREAMS):
                callers.start_soon(get)
    assert statuses == [200] * (3 * STREAMS)
    assert server.connections == 2


@each_family
async def test_closing_ends_all_calls_on_a_connection(server: H2Server, home: Home) -> None:
    """This includes calls that wait for a stream, for which there is no timeout."""
    transport = over_http2()
    client = home.AsyncClient(transport=transport, timeout=None)
    ended: list[TransportClosedError] = []

    async def call() -> None:
        with pytest.raises(TransportClosedError) as caught:
            await client.get(f"{server.url}{HANGS}")
        ended.append(caught.value)

    await client.get(f"{server.url}/ok")
    with anyio.fail_after(2):
        async with anyio.create_task_group() as callers:
            for _ in range(STREAMS + 5):
                callers.start_soon(call)
            await until(lambda: server.paths.count(HANGS) == STREAMS)
            await anyio.wait_all_tasks_blocked()
            await transport.aclose()
    assert len(ended) == STREAMS + 5
    await until(lambda: server.open_connections == 0)
    assert (await client.get(f"{server.url}/ok")).status_code == 200
    await client.aclose()
    assert server.paths.count(HANGS) == STREAMS


@each_family
async def test_a_call_may_be_cancelled_at_any_step(server: H2Server, home: Home) -> None:
    """The next one is served: httpcore2 loses count of the streams if its opening is cut short."""
    for at in range(1, 20):
        steps: list[str] = []

        async def trace(name: str, _: object, at: int = at, steps: list[str] = steps) -> None:
            steps.append(name)
            if len(steps) == at:
                scope.cancel()

        async with home.AsyncClient(transport=over_http2(), timeout=5) as client:
            with anyio.CancelScope() as scope:
                await client.get(f"{server.url}/ok", extensions={"trace": trace})
            for _ in range(2):
                assert (await client.get(f"{server.url}/ok")).status_code == 200
        await until(lambda: server.open_connections == 0)
