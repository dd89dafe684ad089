"""What an HTTP/2 server does to a request: whose failure it is, and what it proves."""

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

import h2.connection
import h2.errors
import httpx
import pytest
import trustme

from tests.integration.h2_server import Behaviour, H2Server, serving
from tests.support import Clock
from walltrack import (
    CircuitBreaker,
    CircuitBreakerTransport,
    Delivery,
    HTTPTransport,
    RetryPolicy,
    RetryTransport,
)
from walltrack.core.extensions import CallReport

pytestmark = pytest.mark.anyio

Connection = h2.connection.H2Connection

AUTHORITY = trustme.CA()
TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
AUTHORITY.configure_trust(TRUSTING)
MAX_STREAM = 2**31 - 1

DATA, HEADERS = 0, 1
END_HEADERS = 4


def frame(kind: int, stream: int, payload: bytes, flags: int = 0) -> bytes:
    """A frame (RFC 9113, section 4.1) that no library would make."""
    start = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return start + stream.to_bytes(4, "big") + payload


def data_on_stream_0(_: Connection, __: int) -> bytes:
    """Forbidden by RFC 9113, section 6.1."""
    return frame(DATA, 0, b"ok")


def data_before_headers(_: Connection, stream: int) -> bytes:
    """A response without a status."""
    return frame(DATA, stream, b"ok")


def broken_hpack(_: Connection, stream: int) -> bytes:
    """A header block that cannot be decoded: an index beyond all tables."""
    return frame(HEADERS, stream, b"\xff\xff\xff\x7f", END_HEADERS)


def body_longer_than_announced(connection: Connection, stream: int) -> bytes:
    """Malformed by RFC 9113, section 8.1.1."""
    connection.send_headers(stream, [(":status", "200"), ("content-length", "2")])
    connection.send_data(stream, b"too long", end_stream=True)
    return b""


def refuse_stream(connection: Connection, stream: int) -> bytes:
    """The request was not processed (RFC 9113, section 8.7)."""
    connection.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
    return b""


def reset_stream(connection: Connection, stream: int) -> bytes:
    """It gave up, at whatever point."""
    connection.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
    return b""


def go_away(last: Callable[[int], int]) -> Behaviour:
    """GOAWAY with a last stream that may have been processed (RFC 9113, section 6.8)."""

    def behave(connection: Connection, stream: int) -> bytes:
        connection.close_connection(last_stream_id=last(stream))
        return b""

    return behave


class Case(NamedTuple):
    """What a server does, and what follows.

    Args:
        behaviour: What it does instead of answering.
        hangs_up: Whether it closes the connection then.
        proof: Whether this proves that it did not process the request.
    """

    behaviour: Behaviour
    hangs_up: bool = False
    proof: bool = False


CASES = {
    "data on stream 0": Case(data_on_stream_0),
    "data before headers": Case(data_before_headers),
    "broken HPACK": Case(broken_hpack),
    "body longer than announced": Case(body_longer_than_announced),
    "RST_STREAM": Case(reset_stream),
    "REFUSED_STREAM": Case(refuse_stream, proof=True),
    "GOAWAY before all streams": Case(go_away(lambda _: 0), True, proof=True),
    "GOAWAY with our stream": Case(go_away(lambda stream: stream), True),
    "GOAWAY beyond our stream": Case(go_away(lambda _: MAX_STREAM), True),
}

TRANSPORTS: dict[str, Callable[..., httpx.AsyncBaseTransport]] = {
    "HTTPTransport": HTTPTransport,
    "AsyncHTTPTransport": httpx.AsyncHTTPTransport,
}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture(scope="module")
def shared() -> Iterator[H2Server]:
    """A server that speaks HTTP/2 alone."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(tls)
    with serving(tls) as made:
        yield made


@pytest.fixture
def server(shared: H2Server) -> H2Server:
    """The server, which was asked nothing yet and behaves well."""
    shared.misbehave, shared.hangs_up = None, False
    shared.paths.clear()
    shared.connections = 0
    return shared


class Way(NamedTuple):
    """A way to the server.

    Args:
        client: A client that retries once, where it is proven that the server did not act.
        breaker: The circuit breaker in its transport.
    """

    client: httpx.AsyncClient
    breaker: CircuitBreaker


@pytest.fixture(params=TRANSPORTS)
async def way(request: pytest.FixtureRequest, server: H2Server, clock: Clock) -> AsyncIterator[Way]:
    """A way to the server, whose first request was answered on stream 1."""
    breaker = CircuitBreaker()
    guarded = CircuitBreakerTransport(
        TRANSPORTS[request.param](verify=TRUSTING, http2=True), breaker=breaker, listener=None
    )
    transport = RetryTransport(guarded, policy=RetryPolicy(1), sleep=clock.sleep, listener=None)
    async with httpx.AsyncClient(transport=transport, timeout=5) as client:
        assert (await client.get(server.url)).http_version == "HTTP/2"
        yield Way(client, breaker)


@every_case
async def test_a_server_that_fails_a_request_is_what_failed(
    server: H2Server, way: Way, case: Case
) -> None:
    """Each attempt counts, whatever httpcore calls it; a GET is retried."""
    server.misbehave, server.hangs_up = case.behaviour, case.hangs_up
    with pytest.raises(httpx.ProtocolError):
        await way.client.get(server.url)
    assert way.breaker.failure_count == 2
    assert len(server.paths) == 3


@every_case
async def test_a_post_is_retried_only_if_the_server_said_that_it_did_not_act(
    server: H2Server, way: Way, case: Case
) -> None:
    """By REFUSED_STREAM, or by a GOAWAY whose last stream comes before that of the request."""

    def once(connection: Connection, stream: int) -> bytes:
        server.misbehave = None
        return case.behaviour(connection, stream)

    server.misbehave, server.hangs_up = once, case.hangs_up
    report = CallReport()
    extensions = {"walltrack.report": report}
    if case.proof:
        response = await way.client.post(server.url, content=b"order", extensions=extensions)
        assert response.status_code == 200
        assert response.extensions["walltrack.attempts"] == 2
        assert len(server.paths) == 3
    else:
        with pytest.raises(httpx.ProtocolError):
            await way.client.post(server.url, content=b"order", extensions=extensions)
        assert report == CallReport(1, Delivery.UNCERTAIN)
        assert len(server.paths) == 2


async def test_a_goaway_before_our_stream_alone_costs_no_attempt(
    server: H2Server, way: Way
) -> None:
    """The pool of httpcore knows that it was not processed, and sends it over a new connection."""

    def once(connection: Connection, stream: int) -> bytes:
        server.misbehave = None
        return go_away(lambda _: stream - 2)(connection, stream)

    server.misbehave, server.hangs_up = once, True
    response = await way.client.post(server.url, content=b"order")
    assert response.status_code == 200
    assert response.extensions["walltrack.attempts"] == 1
    assert (len(server.paths), server.connections) == (3, 2)
