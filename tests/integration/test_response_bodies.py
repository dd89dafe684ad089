"""Response bodies over real sockets: how they fail, and that reading them early is invisible."""

import asyncio
import gzip
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import anyio
import brotli  # type: ignore[import-untyped]  # it ships no types
import httpx
import httpx2
import pytest

from tests.integration.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    answer,
    broken_chunk,
    cut,
    falls_silent,
    head,
    late,
)
from tests.integration.layered import api, impatient, layered, pool, shorten_collections
from walltrack import (
    Backoff,
    CircuitBreaker,
    CircuitBreakerOpenError,
    Delivery,
    ExternalServiceError,
    RetryPolicy,
    RetryTransport,
    resilient_transport,
)

pytestmark = pytest.mark.anyio

WHOLE = {"walltrack.whole_body": True}
LARGE = 2**21
"""A Content-Length beyond which a body no longer belongs to the attempt by itself."""

CHUNKED = {"transfer-encoding": "chunked"}


@pytest.fixture(scope="module", autouse=True)
def _short_collections() -> None:
    shorten_collections()


def literally(*parts: bytes) -> Behaviour:
    """A response as it goes over the wire."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(b"".join(parts))

    return behave


def chunked(*parts: bytes) -> bytes:
    """The wire format of a chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


async def unfinished_chunks(exchange: Exchange) -> None:
    """A chunked body without its last chunk."""
    await exchange.send(head(200, CHUNKED) + b"4\r\nhalf\r\n")
    exchange.end()


SMALL_DEATHS = [
    pytest.param(cut(), id="short of its length"),
    pytest.param(cut(by_reset=True), id="reset"),
    pytest.param(falls_silent(content_length="8"), id="silence"),
]
OTHER_DEATHS = [
    pytest.param(cut(missing=LARGE), id="large and short"),
    pytest.param(cut(missing=LARGE, by_reset=True), id="large and reset"),
    pytest.param(falls_silent(content_length=str(LARGE)), id="large and silent"),
    pytest.param(broken_chunk(), id="broken chunk"),
    pytest.param(unfinished_chunks, id="last chunk missing"),
    pytest.param(falls_silent(transfer_encoding="chunked"), id="silence between chunks"),
]


# A body that dies


@pytest.mark.parametrize("death", SMALL_DEATHS)
async def test_a_small_body_that_dies_is_asked_for_again(
    family: ModuleType, server: FaultServer, death: Behaviour
) -> None:
    """A body announced as small is read inside the attempt, also for a streaming caller."""
    server.will(death)
    async with (
        layered(family=family, timeout=impatient(family)) as client,
        client.stream("GET", server.url) as response,
    ):
        assert await response.aread() == b"ok"
    # On a busy machine a healthy attempt can meet the short timeout, too.
    assert response.extensions["walltrack.attempts"] == len(server.seen) >= 2


@pytest.mark.parametrize("death", SMALL_DEATHS + OTHER_DEATHS)
async def test_a_body_wanted_whole_that_dies_is_asked_for_again(
    family: ModuleType, server: FaultServer, death: Behaviour
) -> None:
    """If the caller wants it whole, a body of any length is read inside the attempt."""
    server.will(death)
    async with layered(family=family, timeout=impatient(family)) as client:
        response = await client.get(server.url, extensions=WHOLE)
    assert response.content == b"ok"
    assert response.extensions["walltrack.attempts"] == len(server.seen) >= 2


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
async def test_the_helpers_of_a_client_want_the_whole_body(
    server: FaultServer, method: str
) -> None:
    """Each helper that returns a response has read it inside the attempt."""
    server.will(unfinished_chunks)
    async with api(server.url) as client:
        response = await getattr(client, method)("/")
    assert response.content == b"ok"
    assert response.extensions["walltrack.attempts"] == 2


@pytest.mark.parametrize("death", OTHER_DEATHS)
async def test_a_stream_that_dies_is_the_callers_to_see(
    family: ModuleType, server: FaultServer, death: Behaviour
) -> None:
    """A body that was delivered in part is not retried, but the breaker counts the failure."""
    breaker = CircuitBreaker()
    server.will(death)
    received = b""
    with pytest.raises((family.NetworkError, family.ProtocolError, family.TimeoutException)):  # noqa: PT012 - what came before the error counts
        async with (
            layered(family=family, breaker=breaker, timeout=impatient(family)) as client,
            client.stream("GET", server.url) as response,
        ):
            async for chunk in response.aiter_raw():
                received += chunk
    assert received in {b"half", b"good"}
    assert breaker.failure_count == 1
    assert len(server.seen) == 1


@pytest.mark.parametrize("death", SMALL_DEATHS + OTHER_DEATHS)
async def test_a_death_inside_the_attempt_counts_against_the_breaker(
    family: ModuleType, server: FaultServer, death: Behaviour
) -> None:
    """A body that fails while the retry layer reads it counts as a failure."""
    breaker = CircuitBreaker()
    server.will(death)
    async with layered(family=family, breaker=breaker, timeout=impatient(family)) as client:
        with pytest.raises(family.TransportError):
            await client.get(server.url, extensions={**WHOLE, "walltrack.retry": False})
    assert breaker.failure_count == 1


async def test_streams_that_die_in_a_row_open_the_circuit(server: FaultServer) -> None:
    """A service whose bodies all break off counts as down."""
    server.default = unfinished_chunks
    breaker = CircuitBreaker(3)
    async with api(server.url, breaker=breaker) as client:
        for _ in range(3):
            with pytest.raises(ExternalServiceError) as caught:
                async with client.stream("GET", "/") as response:
                    await response.aread()
            assert caught.value.delivery is Delivery.UNCERTAIN
        with pytest.raises(CircuitBreakerOpenError):
            await client.get("/")
    assert len(server.seen) == 3


async def test_a_body_that_keeps_dying_ends_with_how_it_died(
    family: ModuleType, server: FaultServer
) -> None:
    """After four attempts the caller gets the exception that a plain client would raise."""
    server.default = cut()
    async with layered(family=family) as client:
        with pytest.raises(family.RemoteProtocolError, match="peer closed connection"):
            await client.get(server.url)
    assert len(server.seen) == 4


# Reading inside the attempt shows nowhere

TEXT = "Grüße, Welt! ".encode() * 500
START = b"HTTP/1.1 200 Alright\r\nContent-Type: text/plain; charset=utf-8\r\nX-Odd:  Case\r\n"
TWICE = b"Set-Cookie: a=1\r\nset-cookie: b=2\r\nX-Odd: again\r\n"


def sized(body: bytes, *headers: bytes) -> Behaviour:
    """A body with its length before it."""
    return literally(START, *headers, b"Content-Length: %d\r\n\r\n" % len(body), body)


def in_chunks(*parts: bytes, headers: bytes = b"") -> Behaviour:
    """A body without its length before it."""
    return literally(START, headers, b"Transfer-Encoding: chunked\r\n\r\n", chunked(*parts))


ANSWERS = {
    "plain": sized(TEXT, TWICE),
    "empty": sized(b""),
    "gzip": sized(gzip.compress(TEXT, mtime=0), b"Content-Encoding: gzip\r\n", TWICE),
    "br": sized(brotli.compress(TEXT), b"Content-Encoding: br\r\n"),
    "several encodings": sized(
        gzip.compress(brotli.compress(TEXT), mtime=0), b"Content-Encoding: br, gzip\r\n"
    ),
    "chunks": in_chunks(b"one", b"two", b"three"),
    "gzip in chunks": in_chunks(
        gzip.compress(TEXT, mtime=0)[:40],
        gzip.compress(TEXT, mtime=0)[40:],
        headers=b"Content-Encoding: gzip\r\n",
    ),
    "no content": literally(b"HTTP/1.1 204 No Content\r\nX-Left: 7\r\n\r\n"),
    "not modified": literally(
        b'HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: "x"\r\n\r\n'
    ),
    "not found": answer(404, b"no such thing"),
    "redirect": answer(302, b"over there", location="/there"),
    "until the connection closes": sized(TEXT, b"Connection: close\r\n"),
}


def face(response: httpx.Response) -> dict[str, Any]:
    """What a caller can see of a response, regardless of how its body is read."""
    return {
        "status": (response.status_code, response.reason_phrase, response.http_version),
        "headers": response.headers.raw,
        "extensions": set(response.extensions) - {"walltrack.attempts", "walltrack.stop_reason"},
        "closed": (response.is_closed, response.is_stream_consumed),
        "downloaded": response.num_bytes_downloaded,
        "encoding": response.encoding,
        "asked": (response.request.method, response.request.headers.raw),
        "next": response.next_request and response.next_request.url.path,
    }


Seen = dict[str, Any]
Reader = Callable[[httpx.AsyncClient, str], Awaitable[Seen]]


async def whole(client: httpx.AsyncClient, url: str) -> Seen:
    """Get the whole response."""
    response = await client.get(url, extensions=WHOLE)
    seen = {"content": response.content, "timed": response.elapsed.total_seconds() > 0}
    return face(response) | seen


def streamed(iterate: Callable[[httpx.Response], Any], *, extensions: Any = None) -> Reader:  # noqa: ANN401 - one of httpx's iterators
    """Stream the response, and look at it before, in between and afterwards."""

    async def read(client: httpx.AsyncClient, url: str) -> Seen:
        async with client.stream("GET", url, extensions=extensions) as response:
            network = response.extensions["network_stream"]
            before = face(response) | {"peer": network.get_extra_info("server_addr")}
            pieces = [piece async for piece in iterate(response)]
            after = face(response)
            with pytest.raises((httpx.StreamConsumed, httpx2.StreamConsumed)):
                await response.aread()
        timed = response.elapsed.total_seconds() > 0
        return {"before": before, "pieces": pieces, "after": after, "timed": timed}

    return read


READERS = {
    "whole": whole,
    "raw": streamed(lambda response: response.aiter_raw()),
    "raw, wanted whole": streamed(lambda response: response.aiter_raw(), extensions=WHOLE),
    "raw by 100": streamed(lambda response: response.aiter_raw(100)),
    "decoded": streamed(lambda response: response.aiter_bytes(), extensions=WHOLE),
    "decoded by 7": streamed(lambda response: response.aiter_bytes(7)),
    "lines": streamed(lambda response: response.aiter_lines()),
}


@pytest.mark.parametrize("answered", ANSWERS)
@pytest.mark.parametrize("reader", READERS)
async def test_a_response_looks_as_it_does_without_the_layers(
    family: ModuleType, server: FaultServer, answered: str, reader: str
) -> None:
    """Status, raw headers, bytes, chunks, counters and extensions are those of a plain client."""
    server.default = ANSWERS[answered]
    async with family.AsyncClient(transport=pool(family=family)) as plain:
        expected = await READERS[reader](plain, server.url)
    async with layered(family=family) as client:
        assert await READERS[reader](client, server.url) == expected


async def test_a_head_looks_as_it_does_without_the_layers(
    family: ModuleType, server: FaultServer
) -> None:
    """The Content-Length of a HEAD's response announces no body, and is kept."""
    server.default = answer(200, TEXT)
    async with layered(family=family) as client:
        response = await client.head(server.url, extensions=WHOLE)
    assert response.headers["content-length"] == str(len(TEXT))
    assert response.content == b""


def send_on(exchange: Exchange) -> Behaviour:
    """A redirect from everywhere to /there, with a cookie."""
    if exchange.seen.target == "/there":
        return answer(200, exchange.seen.headers.get("cookie", "").encode())
    return answer(int(exchange.seen.target[1:]), b"moved", location="/there", set_cookie="crumb=1")


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_and_cookies_go_as_they_do_without_the_layers(
    family: ModuleType, server: FaultServer, status: int, *, follow: bool
) -> None:
    """A redirect is followed with method, body and cookies as by httpx, or returned."""

    async def serve(exchange: Exchange) -> None:
        await send_on(exchange)(exchange)

    async def told(client: httpx.AsyncClient) -> object:
        server.seen.clear()
        url = f"{server.url}/{status}"
        response = await client.put(url, content=b"payload", follow_redirects=follow)
        asked = [(s.method, s.target, s.body, s.headers.get("cookie")) for s in server.seen]
        history = [(past.status_code, past.content) for past in response.history]
        return response.status_code, response.content, history, asked, dict(client.cookies)

    server.default = serve
    async with family.AsyncClient(transport=pool(family=family)) as plain:
        expected = await told(plain)
    async with layered(family=family) as client:
        assert await told(client) == expected


async def test_event_hooks_hear_what_they_hear_without_the_layers(
    family: ModuleType, server: FaultServer
) -> None:
    """A response hook sees a response that is not read yet, and may read it."""
    server.default = ANSWERS["gzip"]
    heard: list[object] = []

    async def on_request(request: httpx.Request) -> None:
        heard.append(request.method)

    async def on_response(response: httpx.Response) -> None:
        heard.extend([response.is_closed, response.num_bytes_downloaded])
        heard.append(await response.aread())

    hooks = {"request": [on_request], "response": [on_response]}
    async with layered(family=family, event_hooks=hooks) as client:
        response = await client.get(server.url)
    assert heard == ["GET", False, 0, TEXT]
    assert response.content == TEXT


# Streams

HUGE = 128 * 2**20
BLOCK = bytes(2**18)


async def huge(exchange: Exchange) -> None:
    """A body that is much too long to keep in memory."""
    await exchange.send(head(200, {"content-length": str(HUGE)}))
    for _ in range(HUGE // len(BLOCK)):
        await exchange.send(BLOCK)


async def test_a_huge_stream_passes_with_flat_memory(
    family: ModuleType, server: FaultServer
) -> None:
    """A streamed body is not kept in memory, neither before nor after it is read."""
    server.will(huge)
    received = 0
    async with (
        layered(family=family) as client,
        client.stream("GET", server.url) as response,
    ):
        tracemalloc.start()
        async for chunk in response.aiter_raw():
            received += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert received == HUGE
    assert peak < 8 * 2**20


@pytest.mark.parametrize("by", ["httpx", "BaseAPIClient"])
async def test_server_sent_events_arrive_one_by_one(
    family: ModuleType, server: FaultServer, by: str
) -> None:
    """The server sends the next event only after the reader has received the last one."""
    had = [threading.Event() for _ in range(5)]

    async def one_by_one(exchange: Exchange) -> None:
        await exchange.send(head(200, {"content-type": "text/event-stream", **CHUNKED}))
        for number, event in enumerate(had):
            await exchange.send(chunked(b"data: %d\n\n" % number).removesuffix(b"0\r\n\r\n"))
            while not event.is_set():  # noqa: ASYNC110 - the test sets it in another thread
                await asyncio.sleep(0.001)
        await exchange.send(b"0\r\n\r\n")

    async def take(response: httpx.Response) -> list[str]:
        taken: list[str] = []
        async for line in response.aiter_lines():
            if line:
                had[len(taken)].set()
                taken.append(line)
        return taken

    server.will(one_by_one)
    expected = [f"data: {number}" for number in range(5)]
    with anyio.fail_after(5):
        if by == "httpx":
            async with (
                layered(family=family) as client,
                client.stream("GET", server.url) as response,
            ):
                assert await take(response) == expected
        else:
            async with api(server.url) as one, one.stream("GET", "/") as response:
                assert await take(response) == expected


# One pass, one owner


async def test_retries_around_retries_read_a_body_once(
    family: ModuleType, server: FaultServer
) -> None:
    """The inner one reads it ahead; the outer one must not read the connection again."""
    policy = RetryPolicy(backoff=Backoff(base=0.0))
    nested = RetryTransport(
        RetryTransport(pool(family=family), policy=policy, listener=None),
        policy=policy,
        listener=None,
    )
    server.will(answer(503), answer(200, b"hello"))
    async with family.AsyncClient(transport=nested, timeout=1) as client:
        for body in (b"hello", b"ok"):
            assert (await client.get(server.url)).content == body
    assert server.connections == 1


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_hedged_failure_disturbs_no_other_request(
    family: ModuleType, server: FaultServer, *, retries: int
) -> None:
    """Both attempts fail: the caller gets the 500, and the next caller its own answer."""
    transport = resilient_transport(
        pool(2, family=family),
        hedge=0.0,
        listener=None,
        retry=RetryPolicy(max_retries=retries, backoff=Backoff(base=0.0)),
    )
    failing = [late(0.02, answer(500, b"failed")), late(0.03, answer(500, b"failed"))]
    server.will(*failing * (retries + 1))
    async with family.AsyncClient(transport=transport, timeout=1) as client:
        response = await client.get(server.url)
        assert (response.status_code, response.content) == (500, b"failed")
        assert (await client.get(server.url)).content == b"ok"


async def test_a_long_body_of_a_hedged_failure_comes_through_whole(
    family: ModuleType, server: FaultServer
) -> None:
    """A body that is too long to be kept in memory arrives with every byte once."""
    whole = bytes(range(256)) * 1024
    transport = resilient_transport(
        pool(2, family=family), hedge=0.0, attempt_timeout=5, retry=None, listener=None
    )
    server.will(late(0.01, answer(500, whole)), late(0.02, answer(500, whole)))
    async with family.AsyncClient(transport=transport, timeout=1) as client:
        response = await client.get(server.url)
    assert (response.status_code, response.content) == (500, whole)


@pytest.mark.parametrize("how", ["length", "event-stream", "no retry", "not whole"])
async def test_the_first_chunk_comes_before_the_last_is_sent(
    family: ModuleType, server: FaultServer, how: str
) -> None:
    """A body over 64 KiB, a stream of events, and one that the caller streams are not held back."""
    release = threading.Event()
    length = 100_000 if how == "length" else 1_000
    kind = {"content-type": "text/event-stream"} if how == "event-stream" else {}

    async def behave(exchange: Exchange) -> None:
        await exchange.send(head(200, {"content-length": str(length), **kind}) + b"x" * 500)
        while not release.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.001)
        await exchange.send(b"x" * (length - 500))

    server.will(behave)
    options: dict[str, Any] = {
        "no retry": {"walltrack.retry": False},
        "not whole": {"walltrack.whole_body": False},
    }
    extensions = options.get(how, {})
    async with (
        layered(family=family) as client,
        client.stream("GET", server.url, extensions=extensions) as response,
    ):
        chunks = response.aiter_raw()
        first = await anext(chunks)
        release.set()
        rest = b"".join([chunk async for chunk in chunks])
    assert 0 < len(first) <= 500
    assert len(first + rest) == length
