"""One stack of transports beneath clients of both families, over real sockets."""

import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from tests.integration.fault_server import (
    FaultServer,
    answer,
    close,
    reset,
    websocket,
)
from tests.integration.layered import layered, pool
from tests.support import Clock, until
from walltrack import (
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    CircuitState,
    RetryPolicy,
    RetryTransport,
)

pytestmark = pytest.mark.anyio

LARGE = b"x" * 2**21


@asynccontextmanager
async def clients_over(
    transport: httpx.AsyncBaseTransport,
) -> AsyncIterator[dict[ModuleType, httpx.AsyncClient]]:
    """A client of each family, both over the same transport."""
    async with AsyncExitStack() as stack:
        clients = {}
        for family in (httpx, httpx2):
            made: Any = family.AsyncClient
            clients[family] = await stack.enter_async_context(made(transport=transport, timeout=5))
        yield clients


async def test_one_transport_serves_clients_of_both_families(
    server: FaultServer, clock: Clock
) -> None:
    """Without an inner transport, it sends by the family of each client, and retries for both."""
    policy = RetryPolicy(non_idempotent="keyed")
    transport = RetryTransport(policy=policy, sleep=clock.sleep, listener=None)
    async with clients_over(transport) as clients:
        for family, client in clients.items():
            server.will(answer(503), close, reset)
            response = await client.post(server.url, content=b"one")
            assert isinstance(response, family.Response)
            assert (response.status_code, response.content) == (200, b"ok")
            assert response.extensions["walltrack.attempts"] == 4
    assert [seen.body for seen in server.seen] == [b"one"] * 8
    await until(lambda: server.open_connections == 0)


async def test_type_checkers_take_a_layer_for_a_transport_of_either_family(
    server: FaultServer,
) -> None:
    """This passes a type checker as it stands, with an inner transport of either family as well."""
    of_httpx = RetryTransport(CircuitBreakerTransport(httpx.AsyncHTTPTransport()))
    of_httpx2 = RetryTransport(CircuitBreakerTransport(httpx2.AsyncHTTPTransport()))
    async with (
        httpx.AsyncClient(transport=of_httpx) as client,
        httpx2.AsyncClient(transport=of_httpx2) as client2,
    ):
        response: httpx.Response = await client.get(server.url)
        response2: httpx2.Response = await client2.get(server.url)
    assert (response.text, response2.text) == ("ok", "ok")


async def test_each_client_gets_exceptions_of_its_own_family(
    server: FaultServer, clock: Clock
) -> None:
    """Each caller gets the exceptions that its family's code catches."""
    server.default = close
    policy = RetryPolicy(non_idempotent="keyed")
    transport = RetryTransport(policy=policy, sleep=clock.sleep, listener=None)
    async with clients_over(transport) as clients:
        for family, client in clients.items():
            with pytest.raises(family.RemoteProtocolError) as caught:
                await client.get(server.url)
            assert isinstance(caught.value.request, family.Request)
            with pytest.raises(family.ConnectError):
                await client.get("http://127.0.0.1:1/")
    assert len(server.seen) == 2 * 4


async def test_an_origin_has_one_circuit_for_all_callers(server: FaultServer, clock: Clock) -> None:
    """Failures of either client count, and an open circuit rejects each with its family's error."""
    server.default = answer(500)
    transport = CircuitBreakerTransport(failure_threshold=4, clock=clock, listener=None)
    async with clients_over(transport) as clients:
        for client in [*clients.values()] * 2:
            await client.get(server.url)
        for family, client in clients.items():
            with pytest.raises(family.TransportError) as caught:
                await client.get(server.url)
            assert type(caught.value) is CircuitBreakerOpenError
            assert isinstance(caught.value.request, family.Request)
            breaker = transport.breaker_for(family.URL(server.url))
            assert breaker is transport.breaker_for(server.url)
            assert breaker.state is CircuitState.OPEN
    assert len(server.seen) == 4


async def test_a_stream_that_is_left_early_leaves_no_more_behind_than_without_the_layers(
    server: FaultServer, anyio_backend_name: str
) -> None:
    """Trio reports every generator that is dropped half-way; httpx2 leaves one by itself."""
    if anyio_backend_name == "asyncio":
        return  # it tells of none

    async def left_behind(client: Any) -> int:  # noqa: ANN401 - of httpx2, which mypy takes for another
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            async with (
                client.stream("GET", server.url) as response,
                aclosing(response.aiter_raw()) as chunks,
            ):
                await anext(chunks)
            del response, chunks
            gc.collect()
            await anyio.lowlevel.checkpoint()
        return len(caught)

    server.default = answer(200, LARGE)
    bare: Any = pool(family=httpx2)
    async with httpx2.AsyncClient(transport=bare) as plain:
        expected = await left_behind(plain)
    async with layered(family=httpx2) as client:
        assert await left_behind(client) <= expected


# What only httpx2 has


async def test_server_sent_events_of_httpx2_pass(server: FaultServer) -> None:
    """Its reader for them works over the layers as over any transport."""
    server.default = answer(200, b"data: one\n\ndata: two\n\n", content_type="text/event-stream")
    client: Any
    async with layered(family=httpx2) as client, client.sse(server.url) as source:
        assert [event.data async for event in source] == ["one", "two"]


async def test_a_websocket_of_httpx2_passes(server: FaultServer) -> None:
    """What follows a protocol switch is no body: the layers neither read nor count it."""
    server.will(websocket)
    client: Any
    async with (
        layered(family=httpx2) as client,
        client.websocket(server.url.replace("http:", "ws:")) as session,
    ):
        assert await session.receive_text() == "hi"
