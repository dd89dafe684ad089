"""Hostile servers over real sockets: what is bounded, and what is not."""

import gc
import gzip
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import anyio
import brotli  # type: ignore[import-untyped]  # it ships no types
import pytest

from tests.integration.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    answer,
    drip,
    head,
)
from tests.integration.layered import api, layered, often, still_serves
from tests.support import Events, until
from walltrack import (
    CircuitBreaker,
    Delivery,
    ExternalServiceError,
    ResponseTooLargeError,
)

pytestmark = pytest.mark.anyio

WHOLE = {"walltrack.whole_body": True}
BLOCK = bytes(2**16)
LIMIT = 2**20
MUCH = 16 * 2**20


@contextmanager
def peak_memory_below(limit: int) -> Iterator[None]:
    """Check that this process never needs more than `limit` bytes of memory."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit


class Endless:
    """A body that has no end as far as its reader can know, and how much of it went out."""

    def __init__(self, status: int = 200, *, chunked: bool, block: bytes = BLOCK) -> None:
        self.sent = 0
        self._block = b"%x\r\n%s\r\n" % (len(block), block) if chunked else block
        framing = {"transfer-encoding": "chunked"} if chunked else {"content-length": "9" * 12}
        self._head = head(status, framing)

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.send(self._head)
        while self.sent < 4 * MUCH:  # or else a test that should fail would never end
            await exchange.send(self._block)
            self.sent += len(self._block)
        exchange.end()


def falls_silent_after(start: bytes) -> Behaviour:
    """Send `start`, and nothing more until the client closes the connection."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(start)
        await exchange.reader.read()
        exchange.end()

    return behave


# A body that is discarded


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(drip(503, every=0.02, times=100_000), id="a byte at a time"),
        pytest.param(
            falls_silent_after(head(503, {"content-length": "9"}) + b"half"), id="silence"
        ),
        pytest.param(falls_silent_after(head(503, {"content-length": "999999"})), id="long"),
        pytest.param(
            falls_silent_after(head(503, {"transfer-encoding": "chunked"}) + b"5\r\nha"),
            id="within a chunk",
        ),
    ],
)
async def test_a_slow_body_that_is_discarded_does_not_hold_up_the_retry(
    family: ModuleType, server: FaultServer, behaviour: Behaviour
) -> None:
    """It is abandoned with its connection, long before the read timeout of an hour."""
    server.will(behaviour)
    async with layered(family=family, timeout=3600.0) as client:
        with anyio.fail_after(5):
            response = await client.get(server.url)
        assert response.extensions["walltrack.attempts"] == 2
        assert await still_serves(client, server.url)
    assert server.connections == 2


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_body_that_is_discarded_is_bounded(
    family: ModuleType, server: FaultServer, *, chunked: bool
) -> None:
    """Only a bounded part is read to save the connection; the rest is in the socket buffers."""
    endless = Endless(503, chunked=chunked)
    server.will(endless)
    with peak_memory_below(MUCH):
        async with layered(family=family) as client:
            assert await still_serves(client, server.url)
    assert endless.sent < MUCH


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_a_bomb_that_is_discarded_does_not_go_off(
    family: ModuleType, server: FaultServer, encoding: str
) -> None:
    """A body that is not read is not decompressed."""
    server.will(answer(503, BOMBS[encoding], content_encoding=encoding))
    with peak_memory_below(MUCH):
        async with layered(family=family) as client:
            assert await still_serves(client, server.url)


# A body that is wanted whole


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_body_that_is_wanted_whole_is_refused(
    family: ModuleType, server: FaultServer, events: Events, *, chunked: bool
) -> None:
    """At the limit the call ends: no retry, no failure for the breaker, no connection lost."""
    endless = Endless(chunked=chunked)
    breaker = CircuitBreaker()
    server.will(endless)
    with peak_memory_below(MUCH):
        async with layered(
            family=family, breaker=breaker, events=events, max_response_bytes=LIMIT
        ) as client:
            with pytest.raises(ResponseTooLargeError) as caught:
                await client.get(server.url, extensions=WHOLE)
            assert await still_serves(client, server.url)
    assert caught.value.max_bytes == LIMIT
    assert endless.sent < MUCH
    assert events.names == ["retry_stopped"]
    assert events.stops == ["response_too_large"]
    assert breaker.failure_count == 0


async def test_an_endless_body_of_tiny_chunks_is_refused(
    family: ModuleType, server: FaultServer
) -> None:
    """What is in the buffer when the limit is met is dropped, and nothing is left behind."""
    server.will(Endless(chunked=True, block=bytes(100)))
    async with layered(family=family, max_response_bytes=1000) as client:
        with pytest.raises(ResponseTooLargeError):
            await client.get(server.url, extensions=WHOLE)
        gc.collect()  # trio warns of a generator that is collected before its end
        assert await still_serves(client, server.url)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("status", [200, 404])
async def test_a_client_refuses_an_endless_body(
    server: FaultServer, status: int, *, chunked: bool
) -> None:
    """BaseAPIClient says which limit was passed, and that the service answered."""
    server.will(Endless(status, chunked=chunked))
    with peak_memory_below(MUCH):
        async with api(server.url, max_response_bytes=LIMIT) as client:
            with pytest.raises(ExternalServiceError, match=f"max_response_bytes={LIMIT}") as caught:
                await client.get("/")
            assert await still_serves(client, "/")
    assert isinstance(caught.value.__cause__, ResponseTooLargeError)
    assert (caught.value.attempts, caught.value.delivery) == (1, Delivery.ANSWERED)


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_final_failure_with_an_endless_body_is_refused(
    server: FaultServer, *, chunked: bool
) -> None:
    """Every attempt but the last discards the body; the last one reads it up to the limit."""
    server.will(*[Endless(500, chunked=chunked)] * 4)
    with peak_memory_below(MUCH):
        async with api(server.url, max_response_bytes=LIMIT) as client:
            with pytest.raises(ExternalServiceError, match="max_response_bytes") as caught:
                await client.get("/")
            assert client.circuit_breaker.failure_count == 4
            assert await still_serves(client, "/")
    assert caught.value.attempts == 4


@pytest.mark.parametrize(("excess", "refused"), [(-1, False), (0, False), (1, True)])
@pytest.mark.parametrize("encoding", [None, "gzip"])
async def test_the_limit_is_exact_and_counts_bytes_of_the_wire(
    family: ModuleType, server: FaultServer, excess: int, encoding: str | None, *, refused: bool
) -> None:
    """A body as long as the limit passes, whatever it decompresses to; one byte more does not."""
    body = gzip.compress(bytes(10_000)) if encoding else bytes(10_000)
    headers = {"content-encoding": encoding} if encoding else {}
    server.default = answer(200, body, **headers)
    async with layered(family=family, max_response_bytes=len(body) - excess) as client:
        if refused:
            with pytest.raises(ResponseTooLargeError):
                await client.get(server.url, extensions=WHOLE)
        else:
            response = await client.get(server.url, extensions=WHOLE)
            assert response.content == bytes(10_000)


async def test_the_limit_does_not_concern_a_stream(server: FaultServer) -> None:
    """A small body that is longer than a smaller limit still streams, as documented."""
    server.default = answer(200, bytes(2000))
    small = api(server.url, max_response_bytes=1000)
    async with small as client, client.stream("GET", "/") as response:
        assert await response.aread() == bytes(2000)


# What decompresses to much more

EXPANDED = 32 * 2**20
BOMBS = {"gzip": gzip.compress(bytes(EXPANDED)), "br": brotli.compress(bytes(EXPANDED), quality=4)}


@pytest.mark.parametrize("encoding", BOMBS)
async def test_a_decompression_bomb_passes_the_limit_and_expands_at_its_reader(
    family: ModuleType, server: FaultServer, encoding: str
) -> None:
    """The limit is on bytes of the wire: httpx decompresses whatever passed it, to any size."""
    server.will(answer(200, BOMBS[encoding], content_encoding=encoding))
    async with layered(family=family, max_response_bytes=2 * len(BOMBS[encoding])) as client:
        response = await client.get(server.url, extensions=WHOLE)
    assert len(response.content) == EXPANDED
    assert response.num_bytes_downloaded == len(BOMBS[encoding]) < EXPANDED / 500


@pytest.mark.parametrize("encoding", BOMBS)
@pytest.mark.parametrize("extensions", [None, WHOLE])
async def test_a_bomb_that_is_streamed_raw_does_not_go_off(
    family: ModuleType, server: FaultServer, encoding: str, extensions: dict[str, bool] | None
) -> None:
    """Reading it inside the attempt decodes nothing; the caller decodes with its own limit."""
    server.will(answer(200, BOMBS[encoding], content_encoding=encoding))
    with peak_memory_below(MUCH):
        async with (
            layered(family=family) as client,
            client.stream("GET", server.url, extensions=extensions) as response,
        ):
            raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert raw == BOMBS[encoding]


# Heads

PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


def much_of(line: Callable[[int], bytes], lines: int) -> Behaviour:
    """A response whose head has many lines."""

    async def behave(exchange: Exchange) -> None:
        for start in range(0, lines, 1000):
            await exchange.send(b"".join(map(line, range(start, start + 1000))))
        await answer()(exchange)

    return behave


def endless_head(exchange_start: bytes) -> Behaviour:
    """A head of 10 MB that does not end then."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(exchange_start)
        for _ in range(160):
            await exchange.send(b"y" * 2**16)
        await exchange.reader.read()
        exchange.end()

    return behave


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(endless_head(b"HTTP/1.1 200 OK\r\nX-Long: "), id="one long header"),
        pytest.param(endless_head(b"HTTP/1.1 200 "), id="long reason"),
        pytest.param(
            much_of(lambda n: b"HTTP/1.1 200 OK\r\n" * (not n) + b"X-%d: %d\r\n" % (n, n), 700_000),
            id="many headers",
        ),
    ],
)
async def test_ten_megabytes_of_headers_are_a_breach_of_the_protocol(
    family: ModuleType, server: FaultServer, behaviour: Behaviour
) -> None:
    """Httpcore reads 100 KiB of a head; a longer one is a failure that is counted and retried."""
    breaker = CircuitBreaker()
    server.will(behaviour)
    with peak_memory_below(MUCH):
        async with layered(family=family, breaker=breaker) as client:
            with pytest.raises(family.RemoteProtocolError):
                await client.get(server.url, extensions={"walltrack.retry": False})
            assert breaker.failure_count == 1
            server.will(behaviour)
            assert await still_serves(client, server.url)


async def test_thousands_of_informational_responses_are_read_over(
    family: ModuleType,
    server: FaultServer,
) -> None:
    """The final response is the one that counts, and the connection is as good as before."""
    server.will(much_of(lambda _n: PROCESSING, often(family, 30_000)))
    async with layered(family=family) as client:
        response = await client.get(server.url)
        assert await still_serves(client, server.url)
    assert response.content == b"ok"
    assert response.extensions["walltrack.attempts"] == 1
    assert server.connections == 1


async def test_informational_responses_are_kept_nowhere(
    family: ModuleType, server: FaultServer
) -> None:
    """Informational responses that are skipped use no memory."""
    server.will(answer(200), much_of(lambda _n: PROCESSING, 10_000))  # 2.9 MB, if they were kept
    async with layered(family=family) as client:
        await client.get(server.url)  # imports what is needed
        with peak_memory_below(2**21):
            await client.get(server.url)


async def test_endless_informational_responses_can_be_cancelled(
    family: ModuleType, server: FaultServer
) -> None:
    """No read timeout ends them, but cancelling the caller does, and no connection is lost."""
    seen = threading.Event()

    async def endless(exchange: Exchange) -> None:
        while True:
            await exchange.send(PROCESSING)
            seen.set()

    server.will(endless)
    async with layered(family=family) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.get, server.url)
            await until(seen.is_set)
            tasks.cancel_scope.cancel()
        assert await still_serves(client, server.url)
