"""Connections without a network, which httpcore2 reads from and writes to."""

import ssl
from collections.abc import Iterable
from typing import Any

import anyio
import anyio.lowlevel
import httpcore2

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Negotiated:
    """A TLS object that has negotiated a protocol."""

    def __init__(self, protocol: str | None) -> None:
        self._protocol = protocol

    def selected_alpn_protocol(self) -> str | None:
        return self._protocol


class Wire(httpcore2.AsyncNetworkStream):
    """A connection that raises when it is used after closing, as a socket does."""

    def __init__(self, *reads: bytes | Exception) -> None:
        self.reads = list(reads)
        self.written: list[bytes] = []
        self.closed = False
        self.tls: Wire | BaseException | None = None
        self.alpn: Negotiated | None = None
        self.waits = anyio.Event()

    async def read(self, max_bytes: int, *_: object, **__: object) -> bytes:
        await anyio.lowlevel.checkpoint()
        if self.closed:
            raise httpcore2.ReadError
        step = self.reads.pop(0)
        if isinstance(step, Exception):
            raise step
        return step[:max_bytes]

    async def write(self, buffer: bytes, *_: object, **__: object) -> None:
        await anyio.lowlevel.checkpoint()
        if self.closed:
            raise httpcore2.WriteError
        self.written.append(buffer)

    async def aclose(self) -> None:
        self.closed = True
        await anyio.lowlevel.checkpoint()

    async def start_tls(self, *_: object, **__: object) -> httpcore2.AsyncNetworkStream:
        if self.tls is None:
            self.waits.set()
            await anyio.sleep_forever()
        if isinstance(self.tls, BaseException):
            raise self.tls
        assert self.tls is not None
        return self.tls

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore2's
        return self.alpn if info == "ssl_object" else f"its {info}"


class Backend(httpcore2.AsyncNetworkBackend):
    """Connects by a script: a wire, an exception, or None for a connect that never ends."""

    def __init__(self, *steps: Wire | Exception | None, shielded: bool = False) -> None:
        self.steps = list(steps)
        self.asked: list[tuple[object, ...]] = []
        self.shielded = shielded
        self.waits = anyio.Event()
        self.goes_on = anyio.Event()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.asked.append((host, port, timeout, local_address, socket_options))
        step = self.steps.pop(0)
        if self.shielded:
            self.waits.set()
            with anyio.CancelScope(shield=True):
                await self.goes_on.wait()
        if step is None:
            self.waits.set()
            await anyio.sleep_forever()
        if isinstance(step, Exception):
            raise step
        assert step is not None
        return step

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.asked.append((path, timeout, socket_options))
        step = self.steps.pop(0)
        assert isinstance(step, Wire)
        return step
