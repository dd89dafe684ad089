import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import httpcore2
import pytest

from tests.support import until
from tests.unit.http.asyncio_peer import (
    LARGE,
    SERVER_TLS,
    break_socket,
    connected,
    fails_to_write,
)
from walltrack.http.asyncio_stream import AsyncioStream

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


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


@both
async def test_a_write_ends_with_the_piece_that_met_a_reset(
    tls: ssl.SSLContext | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Each further piece would be lost, and from the sixth on asyncio would log a warning."""
    async with connected(tls) as (stream, _):
        break_socket(stream)
        await fails_to_write(stream)
    assert caplog.records == []


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


async def test_tls_that_the_peer_has_ended_cannot_be_written_to() -> None:
    """There is no cause, so the message tells what happened."""
    async with connected(SERVER_TLS) as (stream, peer):
        peer.writer.close()
        assert await stream.read(100, 5.0) == b""
        await until(lambda: stream._lost)  # noqa: SLF001 - both sides have ended it
        with pytest.raises(httpcore2.WriteError, match="closed by the peer"):
            await stream.write(b"x", 5.0)


@pytest.mark.parametrize("closing", [False, True], ids=["ended", "closing"])
async def test_the_end_of_tls_is_met_by_the_next_read_and_not_by_a_write(
    caplog: pytest.LogCaptureFixture,
    closing: bool,  # noqa: FBT001 - a case
) -> None:
    """What the peer sent before its end, such as GOAWAY, is read although an answer is due."""
    async with connected(SERVER_TLS) as (stream, peer):
        await peer.send(b"GOAWAY")
        peer.writer.close()
        assert await stream.read(2, 5.0) == b"GO"
        await until(lambda: stream._ended)  # noqa: SLF001 - but is not yet lost
        if closing:
            stream._socket_transport.close()  # noqa: SLF001 - as asyncio does one step later
        for _ in range(10):  # from the sixth on, asyncio would log a warning
            await stream.write(b"acknowledged", 5.0)
        assert await stream.read(100, 5.0) == b"AWAY"
        assert await stream.read(100, 5.0) == b""
    assert caplog.records == []
