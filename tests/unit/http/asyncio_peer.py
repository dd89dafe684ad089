"""Connections of `AsyncioStream` over loopback, and the other side of them."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import httpcore2
import pytest
import trustme

from tests.support import until
from walltrack.http.asyncio_backend import AsyncioBackend

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


class BreakingSocket:
    """Accept all data of the next `sends` calls, then fail as a socket that the peer has reset."""

    def __init__(self, sock: socket.socket, sends: int) -> None:
        self._sock = sock
        self._sends = sends

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the socket has it
        return getattr(self._sock, name)

    def send(self, data: bytes) -> int:
        return self.sendmsg([data])

    def sendmsg(self, pieces: Iterable[bytes]) -> int:
        if self._sends == 0:
            raise ConnectionResetError("reset by the peer")
        self._sends -= 1
        return sum(map(len, pieces))


def break_socket(stream: Any, sends: int = 0) -> Any:  # noqa: ANN401 - of asyncio
    """Have the socket of `stream` fail after `sends` more sends, and return its transport."""
    transport = stream._socket_transport  # noqa: SLF001 - no server can time it
    transport._sock = BreakingSocket(transport._sock, sends)  # noqa: SLF001 - as above
    return transport


async def fails_to_write(stream: Any) -> None:  # noqa: ANN401 - of httpcore2
    """Write much, and meet the reset."""
    with pytest.raises(httpcore2.WriteError) as caught:
        await stream.write(LARGE, 5.0)
    assert isinstance(caught.value.__cause__, ConnectionResetError)


@asynccontextmanager
async def tls_through_tls() -> AsyncIterator[tuple[Any, asyncio.StreamReader]]:
    """A stream as to a server behind a proxy that speaks TLS itself, and what the server reads."""
    async with connected(SERVER_TLS) as (stream, peer):
        start, served = asyncio.get_running_loop().start_tls, asyncio.StreamReader()
        inside = asyncio.StreamReaderProtocol(served)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                partial(start, server_side=True), peer.writer.transport, inside, SERVER_TLS
            )
            secure: Any = await stream.start_tls(CLIENT_TLS, "peer.test", 5.0)
        assert secure.get_extra_info("server_addr") == stream.get_extra_info("server_addr")
        yield secure, served
