"""A proxy on loopback that tunnels and forwards, or misbehaves on request."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Port = int


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[Port]:
    """A port on loopback of which every connection is served by `serve`."""

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled only at the very end; asyncio would log an error that was not retrieved.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def wind_down() -> None:
    """End what still runs in this event loop, and let its connections close before it does."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0.01)  # a transport closes when it has sent what it holds


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection by a TCP reset."""
    sock: socket.socket = writer.get_extra_info("socket")
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: Port, first: bytes = b""
) -> None:
    """Pass everything on to `port`, after `first`, and back, until either side is done."""
    there, back = await asyncio.open_connection("127.0.0.1", port)
    back.write(first)
    ways = [
        asyncio.create_task(_pass_on(reader, back)),
        asyncio.create_task(_pass_on(there, writer)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        back.close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()


@dataclass
class Relay:
    """Forwards connections to `port`, and can reset them all."""

    port: Port
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.clients.append(writer)
        await join(reader, writer, self.port)

    def reset(self) -> None:
        """Reset every connection."""
        while self.clients:
            reset(self.clients.pop())

    def damage(self) -> None:
        """Send something to every client that only looks like a TLS record."""
        while self.clients:
            self.clients.pop().write(b"\x17\x03\x03\x00\x20" + bytes(32))


@dataclass
class Proxy:
    """What the proxy was asked, and how it handles a request, by default as a proxy should."""

    port: Port = 0
    asked: list[str] = field(default_factory=list)
    instead: Serve | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode("latin-1").split(" ", 2)
        self.asked.append(method)
        if self.instead is not None:
            await self.instead(reader, writer)
        elif method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await join(reader, writer, int(target.rpartition(":")[2]))
        else:
            # One request a connection; an origin understands a whole URL as its target.
            await join(reader, writer, int(target.split("/")[2].rpartition(":")[2]), head)


def answers(status: int) -> Serve:
    """Refuse by a status."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()

    return serve


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the client gives up."""
    del writer
    while await reader.read(2**16):
        pass


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    del reader
    reset(writer)


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection."""
    del reader, writer


@asynccontextmanager
async def proxying() -> AsyncIterator[Proxy]:
    """A proxy that listens."""
    proxy = Proxy()
    async with listening(proxy.serve) as proxy.port:
        yield proxy
