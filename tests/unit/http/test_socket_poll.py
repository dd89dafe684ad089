import asyncio
import os
import socket

import anyio
import anyio.lowlevel
import pytest

from tests.support import until
from tests.unit.http.asyncio_peer import (
    SERVER_TLS,
    connected,
)

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


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


async def test_tls_that_was_just_lost_is_readable() -> None:
    """Although the number of its socket is that of another file by now."""
    async with connected(SERVER_TLS) as (stream, _):
        assert not stream.get_extra_info("is_readable")
        loop, descriptor = asyncio.get_running_loop(), stream._socket_transport._sock_fd  # noqa: SLF001 - its number
        seen: list[object] = []

        def look() -> None:
            os.dup2(other.fileno(), descriptor)
            seen.append(stream.get_extra_info("is_readable"))
            os.close(descriptor)

        other, its_peer = socket.socketpair()
        with other, its_peer:
            stream._socket_transport.abort()  # noqa: SLF001 - before TLS and the stream learn of it
            loop.call_soon(look)
            await until(lambda: bool(seen))
        assert seen == [True]


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
