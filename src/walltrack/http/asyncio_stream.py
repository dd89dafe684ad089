"""A connection on asyncio, without the scope and the checkpoint that anyio has for each operation.

Awaits: httpcore2 reads and writes through this class.
"""

import asyncio
import math
import ssl
from typing import Any, Final, cast

import anyio
import anyio.lowlevel
import httpcore2

from walltrack.http import asyncio_tls
from walltrack.http.socket_poll import SocketPoll

_AHEAD_BYTES: Final = 128 * 1024
"""How much is read from the socket before it is asked for."""

_RECEIVED_BYTES: Final = 120 * 1024
"""How much is received at once. Allocating the 256 KiB of asyncio can take 15 µs each time: from
128 KiB on, the C library may ask the system for them."""

_PIECE_BYTES: Final = 64 * 1024
"""How much is written at once. TLS has writers wait only when an earlier piece is still there."""

_LAYERS: Final = 3
"""Of transports: TLS through TLS over a socket. Each learns in its own step of the loop that the
connection is lost."""

_NAMES: Final = {"client_addr": "sockname", "server_addr": "peername"}
"""What httpcore calls otherwise than asyncio."""


class AsyncioStream(httpcore2.AsyncNetworkStream, asyncio.Protocol):
    """A socket, or TLS over one, that asyncio reads ahead.

    Args:
        socket_transport: The transport of the socket, if this is TLS over one.
    """

    def __init__(self, socket_transport: asyncio.Transport | None = None) -> None:
        self._secure = socket_transport is not None
        self._socket_transport = socket_transport
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._reader: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._poll = SocketPoll(secure=self._secure)
        self._drained: asyncio.Event | None = None
        self._paused = False
        self._ended = False
        self._lost = False
        self._error: Exception | None = None

    # For httpcore2

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        """Read up to `max_bytes`; nothing at the end of the stream.

        Raises:
            ReadTimeout: Nothing came in time.
            ReadError: The connection is broken, or closed on this side.
        """
        received = self._received
        if not (received or self._ended):
            await self._arrival(timeout)
        if not received:
            if self._error is not None:
                raise httpcore2.ReadError(self._error) from self._error
            return b""
        data = bytes(received[:max_bytes]) if len(received) > max_bytes else bytes(received)
        del received[:max_bytes]
        if self._paused and len(received) <= _AHEAD_BYTES // 2:
            self._paused = False
            self._own_transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        """Write `buffer`, and wait until the system has taken it; over TLS, all but its end.

        Raises:
            WriteTimeout: The system did not take the next piece in time.
            WriteError: The connection is broken, or closed on this side.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        await self._draining(timeout)
        for start in range(0, len(buffer), _PIECE_BYTES):
            if self._drops:
                return
            self._own_transport.write(buffer[start : start + _PIECE_BYTES])
            if self._drained is not None or self._is_closing:
                await self._draining(timeout)

    async def aclose(self) -> None:
        """Close the connection at once."""
        self.connection_lost(anyio.ClosedResourceError())
        self._received.clear()
        self._own_transport.abort()
        await anyio.lowlevel.checkpoint()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> httpcore2.AsyncNetworkStream:
        """Return TLS over this stream.

        Raises:
            ConnectTimeout: The handshake was not complete in time.
            ConnectError: The handshake failed.
        """
        await self._refuse_closing(httpcore2.ConnectError)  # else asyncio would wait without end
        stream = AsyncioStream(self._socket_transport)
        try:
            with anyio.fail_after(timeout):
                transport = await asyncio_tls.start(
                    self._own_transport, stream, ssl_context, server_hostname
                )
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(error) from error
        except OSError as error:
            raise httpcore2.ConnectError(error) from error
        await self._refuse_closing(httpcore2.ConnectError)  # closing ends no handshake
        stream.connection_made(transport)
        return stream

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as httpcore2 has it
        """Return information about the connection."""
        transport = self._own_transport
        if info == "is_readable":
            return bool(self._received) or self._ended or self._poll.has_data(transport)
        return transport.get_extra_info(_NAMES.get(info, info))

    # For asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket_transport = self._socket_transport or self._transport
        # At 0, TLS would have writers wait with nothing to write.
        self._transport.set_write_buffer_limits(high=int(self._secure), low=0)
        self._transport.max_size = _RECEIVED_BYTES  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Keep what has come; read no further if that is much."""
        self._received += data
        if len(self._received) > _AHEAD_BYTES and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> bool:
        """Note that nothing more comes, and stay open for writing, which TLS cannot."""
        self._ended = True
        self._wake_reader()
        return not self._secure

    def connection_lost(self, exc: Exception | None) -> None:
        """Note why the connection was lost, unless that is known already."""
        if not self._lost:
            self._ended = self._lost = True
            self._error = exc
            if self._timer is not None:
                self._timer.cancel()
            self._wake_reader()
            self.resume_writing()

    def pause_writing(self) -> None:
        """Have writers wait."""
        self._drained = asyncio.Event()

    def resume_writing(self) -> None:
        """Wake the writers."""
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    # Steps of those above

    @property
    def _own_transport(self) -> asyncio.Transport:
        assert self._transport is not None  # noqa: S101 - for the type checker: it is connected
        return self._transport

    @property
    def _is_closing(self) -> bool:
        assert self._socket_transport is not None  # noqa: S101 - as above
        return self._lost or self._socket_transport.is_closing()

    @property
    def _drops(self) -> bool:
        """Whether the peer has ended TLS, which sends nothing more. The next read says so."""
        return self._secure and self._ended and not self._lost

    async def _arrival(self, timeout: float | None) -> None:  # noqa: ASYNC109 - as above
        if self._reader is not None:
            raise anyio.BusyResourceError("reading from")
        loop = asyncio.get_running_loop()
        reader = self._reader = loop.create_future()
        self._deadline = math.inf if timeout is None else loop.time() + timeout
        if self._timer is None or self._deadline < self._timer.when():
            self._set_timer(loop)
        try:
            await reader
        except TimeoutError as error:
            raise httpcore2.ReadTimeout(error) from error
        finally:
            self._reader = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the timer of this reader; it stays for the next, whose deadline is later."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._deadline < math.inf:
            self._timer = loop.call_at(self._deadline, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._reader is None or self._reader.done():
            return
        if loop.time() < self._deadline:
            self._set_timer(loop)
        else:
            self._reader.set_exception(TimeoutError())

    async def _draining(self, timeout: float | None) -> None:  # noqa: ASYNC109 - as above
        if self._drained is not None:
            try:
                with anyio.fail_after(timeout):
                    await self._drained.wait()
            except TimeoutError as error:
                raise httpcore2.WriteTimeout(error) from error
        await self._refuse_closing(httpcore2.WriteError)

    async def _refuse_closing(self, kind: type[httpcore2.NetworkError]) -> None:
        if self._drops or not self._is_closing:
            return
        for _ in range(_LAYERS):
            if not self._lost:
                await anyio.lowlevel.checkpoint()  # then it is known why
        raise kind(self._error or "closed by the peer") from self._error

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
