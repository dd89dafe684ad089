"""A SOCKS5 proxy on loopback, for connections to loopback."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.integration.proxy import Serve, join, listening, wind_down

NO_AUTHENTICATION, PASSWORD = 0, 2
GRANTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


@dataclass
class SocksProxy:
    """What the proxy was asked, and how it handles a connection, by default as it should."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    open_connections: int = 0
    instead: Serve | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.open_connections += 1
        try:
            if self.instead is not None:
                await self.instead(reader, writer)
            else:
                await self._connect(reader, writer)
        finally:
            self.open_connections -= 1

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods = await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(bytes([5, methods[0]]))
        if methods[0] == PASSWORD:
            name = await reader.readexactly((await reader.readexactly(2))[1])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            self.asked.append(f"{name.decode()}:{password.decode()}")
            writer.write(b"\x01\x00")
        kind = (await reader.readexactly(4))[3]
        size = 4 if kind == 1 else (await reader.readexactly(1))[0]
        await reader.readexactly(size)
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append("connect")
        writer.write(GRANTED)
        await join(reader, writer, port)


@contextlib.contextmanager
def socks_proxy() -> Iterator[SocksProxy]:
    """A SOCKS proxy that listens while the block runs, in a thread of its own."""
    proxy = SocksProxy()
    ready = threading.Event()
    stop: list[Callable[[], object]] = []

    async def main() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopped.set))
        async with listening(proxy.serve) as proxy.port:
            ready.set()
            await stopped.wait()
        await wind_down()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="socks proxy")
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        stop[0]()
        thread.join()
