import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import httpcore2
import pytest
import trustme

from tests.support import until
from walltrack.http.asyncio_backend import AsyncioBackend
from walltrack.http.asyncio_stream import AsyncioStream

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

AUTHORITY = trustme.CA()
SERVER_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("peer.test").configure_cert(SERVER_TLS)
CLIENT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
AUTHORITY.configure_trust(CLIENT_TLS)

LARGE = b"x" * 2**21


class Peer:
    """The other side of a connection, as streams of asyncio."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer: Any = writer

    async def send(self, data: bytes) -> None:
        """Send all data."""
        self.writer.write(data)
        await self.writer.drain()

    def send_past_asyncio(self, data: bytes) -> None:
        """Send at once, also past TLS, without an await."""
        with self.writer.get_extra_info("socket").dup() as sock:
            sock.send(data)

    def reset(self) -> None:
        """Close by a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def connected(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Any, Peer]]:
    """A stream and its peer; with a context the peer uses TLS."""
    peers: list[Peer] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)  # soon full
    server = await asyncio.start_server(
        lambda reader, writer: peers.append(Peer(reader, writer)),
        sock=listener,
        ssl=tls,
        limit=len(LARGE),
    )
    port = listener.getsockname()[1]
    options = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)]
    stream: Any = await AsyncioBackend().connect_tcp("127.0.0.1", port, 5.0, None, options)
    try:
        if tls is not None:
            plain, stream = stream, await stream.start_tls(CLIENT_TLS, "peer.test", 5.0)
            del plain
        await until(lambda: bool(peers))
        yield stream, peers[0]
    finally:
        await stream.aclose()
        peers[0].writer.transport.abort()
        server.close()
        await anyio.sleep(0.005)  # both sides learn of the end


both = pytest.mark.parametrize("tls", [None, SERVER_TLS], ids=["plain", "TLS"])


@both
async def test_what_is_written_arrives_and_what_comes_is_read(tls: ssl.SSLContext | None) -> None:
    """In pieces of at most the requested size, and empty at the end."""
    async with connected(tls) as (stream, peer):
        assert type(stream) is AsyncioStream
        await stream.write(b"")
        await stream.write(b"hello", 5.0)
        assert await peer.reader.readexactly(5) == b"hello"
        await peer.send(b"answer")
        assert await stream.read(3, 5.0) == b"ans"
        assert await stream.read(100, 5.0) == b"wer"
        peer.writer.close()
        assert await stream.read(100, 5.0) == b""
        assert await stream.read(100) == b""


async def test_a_peer_that_sends_nothing_more_can_still_be_written_to() -> None:
    """A server may close its sending side before it has read the request."""
    async with connected() as (stream, peer):
        peer.writer.write_eof()
        assert await stream.read(100, 5.0) == b""
        await stream.write(b"more", 5.0)
        assert await peer.reader.readexactly(4) == b"more"


@both
async def test_a_read_ends_in_time(tls: ssl.SSLContext | None) -> None:
    """Data that arrives later is read later."""
    async with connected(tls) as (stream, peer):
        with pytest.raises(httpcore2.ReadTimeout):
            await stream.read(100, 0.001)
        await peer.send(b"late")
        assert await stream.read(100, 5.0) == b"late"


async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    """Data that arrives while no one reads is kept."""
    async with connected() as (stream, peer):
        with anyio.move_on_after(0.001):
            await stream.read(100, 5.0)
        await peer.send(b"late")
        await until(lambda: stream.get_extra_info("is_readable"))
        assert await stream.read(100, 5.0) == b"late"


async def test_what_comes_just_in_time_is_read() -> None:
    """Even if a slow event loop sees it together with the timeout."""
    async with connected() as (stream, _):
        loop = asyncio.get_running_loop()
        loop.call_later(0.001, stream.data_received, b"just in time")
        loop.call_soon(time.sleep, 0.005)
        assert await stream.read(100, 0.002) == b"just in time"


@pytest.mark.parametrize("limit", [5.0, None])
async def test_the_limit_of_an_earlier_read_does_not_end_a_later_one(limit: float | None) -> None:
    """Its timer stays set, since most reads end in time."""
    async with connected() as (stream, _):
        loop = asyncio.get_running_loop()
        loop.call_soon(stream.data_received, b"1")
        assert await stream.read(1, 0.002) == b"1"
        loop.call_later(0.006, stream.data_received, b"2")
        assert await stream.read(1, limit) == b"2"


@pytest.mark.parametrize("earlier", [0.001, 5.0])
async def test_a_later_read_has_its_own_limit(earlier: float) -> None:
    """Whether the limit of the earlier read ends before or after it."""
    async with connected() as (stream, _):
        loop = asyncio.get_running_loop()
        loop.call_soon(stream.data_received, b"1")
        assert await stream.read(1, earlier) == b"1"
        began = loop.time()
        with pytest.raises(httpcore2.ReadTimeout):
            await stream.read(1, 0.004)
        assert 0.004 <= loop.time() - began < 1.0


async def test_a_limit_that_ends_while_nothing_is_read_changes_nothing() -> None:
    """The connection is idle by then."""
    async with connected() as (stream, peer):
        asyncio.get_running_loop().call_soon(stream.data_received, b"1")
        assert await stream.read(1, 0.001) == b"1"
        await anyio.sleep(0.003)
        await peer.send(b"2")
        assert await stream.read(1, 5.0) == b"2"


async def test_one_task_reads_at_a_time() -> None:
    """Another task would take its data."""
    async with connected() as (stream, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(stream.read, 100)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await stream.read(100)
        await peer.send(b"x")


@both
async def test_a_connection_that_breaks_fails_with_its_cause(tls: ssl.SSLContext | None) -> None:
    """In reads and writes; the cause tells a reset from a process without resources."""
    async with connected(tls) as (stream, peer):
        peer.reset()
        with pytest.raises(httpcore2.ReadError) as caught:
            await stream.read(100, 5.0)
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        with pytest.raises(httpcore2.WriteError) as failed:
            await stream.write(b"x", 5.0)
        assert failed.value.__cause__ is caught.value.__cause__


async def test_a_damaged_record_of_tls_is_a_read_error() -> None:
    """Httpcore2 has no exception for it; the cause is the `ssl` error."""
    async with connected(SERVER_TLS) as (stream, peer):
        peer.send_past_asyncio(b"\x17\x03\x03\x00\x05wrong")
        with pytest.raises(httpcore2.ReadError) as caught:
            await stream.read(100, 5.0)
        assert isinstance(caught.value.__cause__, ssl.SSLError)


@both
async def test_a_write_waits_until_the_system_has_it_all(tls: ssl.SSLContext | None) -> None:
    """A slow server is not flooded; the timeout ends the wait."""
    async with connected(tls) as (stream, peer):
        peer.writer.transport.pause_reading()
        with pytest.raises(httpcore2.WriteTimeout):
            await stream.write(LARGE, 0.01)
        with pytest.raises(httpcore2.WriteTimeout):
            await stream.write(b"more", 0.001)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.write, b"more")
            await anyio.wait_all_tasks_blocked()
            peer.writer.transport.resume_reading()
            sent = await peer.reader.readuntil(b"more")
        assert set(sent[:-4]) == set(b"x")
        assert 2**16 < len(sent) < len(LARGE)


async def test_a_write_that_waits_fails_when_the_connection_breaks() -> None:
    """Otherwise it would wait without end."""
    async with connected() as (stream, peer), anyio.create_task_group() as tasks:

        async def write() -> None:
            with pytest.raises(httpcore2.WriteError):
                await stream.write(LARGE, 5.0)

        peer.writer.transport.pause_reading()
        tasks.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        peer.reset()


async def test_a_cancelled_call_writes_nothing() -> None:
    """The request of a call that was cancelled is not sent."""
    async with connected() as (stream, peer):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await stream.write(b"never")
        await stream.write(b"now")
        assert await peer.reader.read(100) == b"now"


@both
async def test_closing_ends_what_reads_and_writes(tls: ssl.SSLContext | None) -> None:
    """The exception differs from that of a connection closed by the peer."""
    async with connected(tls) as (stream, peer):
        ended = []

        async def fails(act: Callable[..., Any], *args: object) -> None:
            with pytest.raises((httpcore2.ReadError, httpcore2.WriteError)) as caught:
                await act(*args)
            ended.append(type(caught.value.__cause__))

        peer.writer.transport.pause_reading()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails, stream.read, 100)
            tasks.start_soon(fails, stream.write, LARGE)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
        await fails(stream.read, 100)
        await fails(stream.write, b"x")
        assert ended == [anyio.ClosedResourceError] * 4
        peer.writer.transport.resume_reading()
        await peer.reader.read()
        await stream.aclose()


async def test_what_was_read_ahead_is_gone_when_it_is_closed() -> None:
    """It must not be taken for the rest of a body."""
    async with connected() as (stream, peer):
        await peer.send(b"half")
        await until(lambda: bool(stream._received))  # noqa: SLF001 - it was read ahead
        await stream.aclose()
        with pytest.raises(httpcore2.ReadError):
            await stream.read(100)


@both
async def test_it_reads_ahead_and_no_further(tls: ssl.SSLContext | None) -> None:
    """A peer that sends faster than the caller reads does not fill the memory."""
    async with connected(tls) as (stream, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.send, LARGE)
        kept = stream._received  # noqa: SLF001 - what it has in memory
        await until(lambda: len(kept) > 2**17)
        await anyio.sleep(0.005)
        assert len(kept) < 2**20
        left = len(LARGE)
        while left:
            left -= len(await stream.read(2**14, 5.0))
            assert len(kept) < 2**20


@both
async def test_it_tells_what_is_known_of_the_connection(tls: ssl.SSLContext | None) -> None:
    """By the names that httpcore uses."""
    async with connected(tls) as (stream, peer):
        client, server = (
            peer.writer.get_extra_info("peername"),
            peer.writer.get_extra_info("sockname"),
        )
        assert stream.get_extra_info("client_addr") == client
        assert stream.get_extra_info("server_addr") == server
        assert stream.get_extra_info("socket").getpeername() == server
        assert (stream.get_extra_info("ssl_object") is not None) is (tls is not None)
        assert stream.get_extra_info("nonsense") is None


async def test_it_is_readable_once_there_is_something_to_read() -> None:
    """Even before the event loop has noticed: an idle connection may have ended."""
    async with connected() as (stream, peer):
        assert not stream.get_extra_info("is_readable")
        peer.send_past_asyncio(b"x")
        assert stream.get_extra_info("is_readable")
        await until(lambda: bool(stream._received))  # noqa: SLF001 - read ahead
        assert stream.get_extra_info("is_readable")
        assert await stream.read(100, 5.0) == b"x"
        assert not stream.get_extra_info("is_readable")
        peer.writer.close()
        await until(lambda: stream.get_extra_info("is_readable"))
        assert await stream.read(100, 5.0) == b""
        assert stream.get_extra_info("is_readable")


async def test_a_closed_connection_is_readable() -> None:
    """A read would not wait."""
    async with connected() as (stream, _):
        await stream.aclose()
        await until(lambda: stream.get_extra_info("socket").fileno() < 0)
        stream._ended = False  # noqa: SLF001 - the socket knows it, too
        assert stream.get_extra_info("is_readable")


async def test_a_handshake_that_fails_is_a_connect_error() -> None:
    """The cause is the certificate error."""
    async with connected() as (stream, peer), anyio.create_task_group() as tasks:
        start = asyncio.get_running_loop().start_tls

        async def serve() -> None:
            with suppress(OSError):
                await start(peer.writer.transport, asyncio.Protocol(), SERVER_TLS, server_side=True)

        tasks.start_soon(serve)
        with pytest.raises(httpcore2.ConnectError) as caught:
            await stream.start_tls(CLIENT_TLS, "another.test", 5.0)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_a_handshake_ends_in_time() -> None:
    """The peer sends nothing at all."""
    async with connected() as (stream, _):
        with pytest.raises(httpcore2.ConnectTimeout):
            await stream.start_tls(CLIENT_TLS, "peer.test", 0.001)


@pytest.mark.parametrize("known", [False, True], ids=["about to be known", "known"])
async def test_tls_over_a_connection_that_is_lost_fails_at_once(known: bool) -> None:  # noqa: FBT001 - a case
    """A handshake without a timeout would wait for an answer without end."""
    async with connected() as (stream, peer):
        if known:
            peer.reset()
            await until(lambda: stream._lost)  # noqa: SLF001 - asyncio has said so
        else:
            stream._own_transport.abort()  # noqa: SLF001 - what asyncio does at a reset
        with anyio.fail_after(5), pytest.raises(httpcore2.ConnectError) as caught:
            await stream.start_tls(CLIENT_TLS, "peer.test", None)
        assert isinstance(caught.value.__cause__, ConnectionResetError) is known


async def test_closing_ends_a_handshake() -> None:
    """The exception tells that it was closed on this side."""
    async with connected() as (stream, _), anyio.create_task_group() as tasks:

        async def fails() -> None:
            with pytest.raises(httpcore2.ConnectError) as caught:
                await stream.start_tls(CLIENT_TLS, "peer.test", None)
            assert isinstance(caught.value.__cause__, anyio.ClosedResourceError)

        tasks.start_soon(fails)
        await anyio.wait_all_tasks_blocked()
        await stream.aclose()


async def test_an_idle_connection_over_tls_that_breaks_is_readable() -> None:
    """In each step of the event loop after the reset, even before its error is known."""
    async with connected(SERVER_TLS) as (stream, peer):
        await until(lambda: not stream.get_extra_info("is_readable"))
        peer.reset()
        seen = []
        while not stream._lost:  # noqa: SLF001 - until it is known
            seen.append(stream.get_extra_info("is_readable"))
            await anyio.lowlevel.checkpoint()
        assert seen == sorted(seen)
        assert stream.get_extra_info("is_readable")


async def test_tls_that_the_peer_has_ended_cannot_be_written_to() -> None:
    """There is no cause, so the message tells what happened."""
    async with connected(SERVER_TLS) as (stream, peer):
        peer.writer.close()
        assert await stream.read(100, 5.0) == b""
        await until(lambda: stream._lost)  # noqa: SLF001 - both sides have ended it
        with pytest.raises(httpcore2.WriteError, match="closed by the peer"):
            await stream.write(b"x", 5.0)


async def test_tls_goes_through_tls() -> None:
    """For example to a server behind a proxy that uses TLS itself."""
    async with connected(SERVER_TLS) as (stream, peer):
        start, served = asyncio.get_running_loop().start_tls, asyncio.StreamReader()
        inside = asyncio.StreamReaderProtocol(served)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                partial(start, server_side=True), peer.writer.transport, inside, SERVER_TLS
            )
            secure = await stream.start_tls(CLIENT_TLS, "peer.test", 5.0)
        await secure.write(LARGE, 5.0)
        assert await served.readexactly(len(LARGE)) == LARGE
        assert secure.get_extra_info("server_addr") == stream.get_extra_info("server_addr")
        await secure.aclose()
