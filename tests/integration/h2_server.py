"""An HTTP/2 server over TLS on loopback that allows few streams, and hangs on some of them."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.integration.proxy import wind_down

HANGS = "/hang"
"""The path on which a request is never answered."""

STREAMS = 10


Behaviour = Callable[[h2.connection.H2Connection, int], bytes]
"""What a server does instead of answering on a stream; what it returns is sent as it is."""


@dataclass
class H2Server:
    """Where the server listens, what it was asked, and what it does instead of answering."""

    port: int = 0
    streams: int = STREAMS
    misbehave: Behaviour | None = None
    hangs_up: bool = False
    paths: list[str] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self.open_connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError, ssl.SSLError):
                await self._serve_streams(reader, writer)
        finally:
            self.open_connections -= 1
            writer.close()

    async def _serve_streams(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        limit = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.streams}
        connection.local_settings = h2.settings.Settings(client=False, initial_values=limit)
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(2**16):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    assert event.headers is not None
                    headers: dict[Any, Any] = dict(event.headers)  # typed as bytes, but decoded
                    path = headers[":path"]
                    self.paths.append(path)
                    if self.misbehave is not None:
                        writer.write(connection.data_to_send())
                        raw = self.misbehave(connection, event.stream_id)
                        writer.write(connection.data_to_send() + raw)
                        if self.hangs_up:
                            return
                    elif path != HANGS:
                        answer = [(":status", "200"), ("content-length", "2")]
                        connection.send_headers(event.stream_id, answer)
                        connection.send_data(event.stream_id, b"ok", end_stream=True)
            writer.write(connection.data_to_send())


@contextlib.contextmanager
def serving(tls: ssl.SSLContext) -> Iterator[H2Server]:
    """A server that listens while the block runs, in a thread of its own."""
    made = H2Server()
    ready = threading.Event()
    stop: list[Callable[[], object]] = []
    tls.set_alpn_protocols(["h2"])

    async def main() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopped.set))
        server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
        made.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stopped.wait()
        server.close()
        await wind_down()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="HTTP/2 server")
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        stop[0]()
        thread.join()
