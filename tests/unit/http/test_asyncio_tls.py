import asyncio
import ssl
from contextlib import suppress

import anyio
import anyio.lowlevel
import httpcore2
import pytest

from tests.support import until
from tests.unit.http.asyncio_peer import (
    CLIENT_TLS,
    LARGE,
    SERVER_TLS,
    break_socket,
    connected,
    fails_to_write,
    tls_through_tls,
)

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


async def test_a_reset_of_tls_through_tls_is_known_to_both(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The inner layer learns the cause one step of the event loop after the outer one."""
    async with tls_through_tls() as (secure, _):
        break_socket(secure)
        await fails_to_write(secure)
        await secure.aclose()
    messages = [record.getMessage() for record in caplog.records]
    assert [text for text in messages if "eof_received" not in text] == []  # the server's


async def test_a_reset_as_tls_writes_on_is_a_write_error_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The transport that drains its buffer has not failed within its own step."""
    async with connected(SERVER_TLS) as (stream, peer), anyio.create_task_group() as tasks:
        peer.writer.transport.pause_reading()
        tasks.start_soon(fails_to_write, stream)
        await until(lambda: stream._socket_transport.get_write_buffer_size() > 0)  # noqa: SLF001 - asyncio's
        break_socket(stream, sends=1)
        peer.writer.transport.resume_reading()
    assert caplog.records == []


async def test_tls_does_not_write_on_once_its_connection_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A transport that is closing ends in the step in which its buffer drains."""
    async with connected(SERVER_TLS) as (stream, peer), anyio.create_task_group() as tasks:

        async def write() -> None:
            with pytest.raises(httpcore2.WriteError, match="closed by the peer"):
                await stream.write(LARGE, 5.0)

        peer.writer.transport.pause_reading()
        tasks.start_soon(write)
        await until(lambda: stream._socket_transport.get_write_buffer_size() > 0)  # noqa: SLF001 - as above
        break_socket(stream, sends=1).close()
        peer.writer.transport.resume_reading()
    assert caplog.records == []


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


async def test_tls_goes_through_tls() -> None:
    """For example to a server behind a proxy that uses TLS itself."""
    async with tls_through_tls() as (secure, served):
        await secure.write(LARGE, 5.0)
        assert await served.readexactly(len(LARGE)) == LARGE
        await secure.aclose()
