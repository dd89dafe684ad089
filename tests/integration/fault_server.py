"""An HTTP/1.1 server on loopback that misbehaves by a script, one request after the other.

It runs on asyncio streams in a thread of its own, so that the client under test may run on any
event loop. What it does to a request is a `Behaviour`; a script of them is worked off in order, and
when it is used up every request is answered 200.
"""

import asyncio
import base64
import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

CRLF = b"\r\n"


@dataclass
class Seen:
    """A request as the server read it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Exchange:
    """One request on its connection, for a behaviour to act on."""

    seen: Seen
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keep_alive: bool = True

    async def send(self, data: bytes) -> None:
        """Write `data`, all of it."""
        self.writer.write(data)
        await self.writer.drain()

    def end(self) -> None:
        """Close the connection after this."""
        self.keep_alive = False

    def reset(self) -> None:
        """Close the connection by a TCP reset."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        self.end()


Behaviour = Callable[[Exchange], Awaitable[None]]


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """A status line and headers."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return CRLF.join(line.encode("latin-1") for line in lines)


def answer(status: int = 200, body: bytes = b"ok", **headers: str) -> Behaviour:
    """A whole response; underscores in header names become hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def behave(exchange: Exchange) -> None:
        full = {"content-length": str(len(body)), **named}
        payload = b"" if exchange.seen.method == "HEAD" else body
        await exchange.send(head(status, full) + payload)

    return behave


def late(seconds: float, then: Behaviour | None = None) -> Behaviour:
    """Silence for a while, then `then`."""

    async def behave(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await (then or answer())(exchange)

    return behave


def hold(release: threading.Event, then: Behaviour) -> Behaviour:
    """Silence until the test sets `release`, then `then`."""

    async def behave(exchange: Exchange) -> None:
        while not release.is_set():  # noqa: ASYNC110 - the test sets it in another thread
            await asyncio.sleep(0.001)
        await then(exchange)

    return behave


async def close(exchange: Exchange) -> None:
    """Close the connection before answering."""
    exchange.end()


async def reset(exchange: Exchange) -> None:
    """Reset the connection before answering."""
    exchange.reset()


def cut(
    body: bytes = b"half", missing: int = 4, *, status: int = 200, by_reset: bool = False
) -> Behaviour:
    """A body that ends before its Content-Length does."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(head(status, {"content-length": str(len(body) + missing)}) + body)
        if by_reset:
            await asyncio.sleep(0.01)  # let the client take what was sent
            exchange.reset()
        exchange.end()

    return behave


def broken_chunk(status: int = 200) -> Behaviour:
    """A chunked body whose second chunk has no readable size."""

    async def behave(exchange: Exchange) -> None:
        start = head(status, {"transfer-encoding": "chunked"})
        await exchange.send(start + b"4\r\ngood\r\n" + b"zz\r\nbad\r\n")
        exchange.end()

    return behave


def drip(status: int = 200, *, every: float, times: int) -> Behaviour:
    """A chunked body of single bytes, slow to come."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(head(status, {"transfer-encoding": "chunked"}))
        for _ in range(times):
            await exchange.send(b"1\r\n.\r\n")
            await asyncio.sleep(every)
        await exchange.send(b"0\r\n\r\n")

    return behave


@dataclass
class FaultServer:
    """What the server was asked, and what it is to do next."""

    port: int = 0
    scheme: str = "http"
    script: list[Behaviour] = field(default_factory=list)
    default: Behaviour = field(default_factory=answer)
    before_body: Behaviour | None = None  # what it does before it reads a request's body
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def will(self, *script: Behaviour) -> None:
        """Do this to the next requests."""
        self.script.extend(script)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self.open_connections += 1
        try:
            # Cancelled only at the very end; asyncio would log an error that was not retrieved.
            with contextlib.suppress(
                ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
            ):
                await self._serve_requests(reader, writer)
        finally:
            self.open_connections -= 1
            writer.close()

    async def _serve_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            seen = await _read_head(reader)
            exchange = Exchange(seen, reader, writer)
            if self.before_body is not None:
                await self.before_body(exchange)
                if not exchange.keep_alive:
                    return
            await _read_body(seen, reader)
            self.seen.append(seen)
            behaviour = self.script.pop(0) if self.script else self.default
            await behaviour(exchange)
            if not exchange.keep_alive:
                return


async def _read_head(reader: asyncio.StreamReader) -> Seen:
    start, *lines = (await reader.readuntil(CRLF + CRLF)).decode("latin-1").split("\r\n")
    method, target, _ = start.split(" ")
    headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines) if n}
    return Seen(method, target, headers)


async def _read_body(seen: Seen, reader: asyncio.StreamReader) -> None:
    headers = seen.headers
    if "content-length" in headers:
        seen.body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(CRLF), 16):
            seen.body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()


@contextlib.contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[FaultServer]:
    """A fault server that listens while the block runs."""
    fault_server = FaultServer(scheme="https" if tls else "http")
    ready = threading.Event()
    stop: list[Callable[[], object]] = []

    async def main() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopped.set))
        server = await asyncio.start_server(fault_server.serve, "127.0.0.1", 0, ssl=tls)
        fault_server.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stopped.wait()
        server.close()
        await _cancel_the_rest()
        if tls is not None:
            await asyncio.sleep(0.01)  # such a connection first says that it closes

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="fault server")
    thread.start()
    ready.wait()
    try:
        yield fault_server
    finally:
        stop[0]()
        thread.join()


async def _cancel_the_rest() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def falls_silent(**headers: str) -> Behaviour:
    """Half a body, and nothing more until the client gives up; underscores become hyphens."""

    async def behave(exchange: Exchange) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        half = b"half" if "content-length" in named else b"4\r\nhalf\r\n"
        await exchange.send(head(200, named) + half)
        await exchange.reader.read()
        exchange.end()

    return behave


async def websocket(exchange: Exchange) -> None:
    """Switch to WebSocket, and send one message."""
    key = exchange.seen.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accepted = base64.b64encode(hashlib.sha1(key.encode()).digest())  # noqa: S324 - RFC 6455
    headers = {"upgrade": "websocket", "connection": "Upgrade"}
    headers["sec-websocket-accept"] = accepted.decode()
    await exchange.send(head(101, headers) + b"\x81\x02hi")
    await exchange.reader.read()
    exchange.end()
