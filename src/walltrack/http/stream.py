"""One socket of a pool, or TLS over it.

Awaits: httpcore2 reads and writes through this class.
"""

import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import anyio
import anyio.lowlevel
import httpcore2

CLOSED: Final = "the transport was closed"

_OPENING: Final = 1
"""The write that opens an HTTP/2 connection, before any request."""

_LONGEST_WRITE: Final = 30.0
"""Seconds for a write that cannot be cancelled, where the caller sets no limit."""


class Tracks(Protocol):
    """A network, as far as its streams need it."""

    multiplexes: bool
    closed: bool
    spoiled: bool

    async def unless_closed(self, act: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - handed on
        """Return what `act` returns; cancel it when the network is closed."""
        ...

    def track(self, stream: httpcore2.AsyncNetworkStream, *, secure: bool) -> "Stream":
        """Keep track of a stream that the current task has made."""
        ...

    def forget(self, stream: "Stream") -> None:
        """Stop tracking a stream."""
        ...


class Stream(httpcore2.AsyncNetworkStream):
    """A socket, or TLS over one, which its network tracks until it is closed."""

    def __init__(
        self,
        stream: httpcore2.AsyncNetworkStream,
        network: Tracks,
        *,
        secure: bool,
        task: int,
        number: int,
    ) -> None:
        self._stream = stream
        self._network = network
        self._secure = secure
        self._shared = network.multiplexes or (secure and _speaks_http2(stream))
        self._writes = 0
        self.task = task
        self.number = number

    def established(self, *, secure: bool) -> bool:
        """Return whether the connection is complete, so that a request is sent over it."""
        needed = _OPENING + 1 if self._shared else 1
        return self._writes >= needed and self._secure >= secure

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        """Read up to `max_bytes`.

        Raises:
            ReadError: The network is closed, or the TLS record is damaged, for which httpcore2
                would raise an `ssl.SSLError`.
        """
        try:
            data = await self._stream.read(max_bytes, timeout)
        except ssl.SSLError as error:
            raise httpcore2.ReadError(error) from error
        if self._network.closed:  # else the end of the stream could be taken for the end of a body
            raise httpcore2.ReadError(CLOSED)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        """Write `buffer`; on a connection that requests share, completely even if cancelled.

        Raises:
            WriteError: The network is closed.
        """
        if self._network.closed:
            raise httpcore2.WriteError(CLOSED)
        self._writes += 1
        if not self._shared:
            if buffer:  # for a request without a body it often is empty
                await self._stream.write(buffer, timeout)
        elif self._writes == _OPENING:
            # If this write is cancelled, httpcore2 closes the connection; after it, it would not.
            await self._stream.write(buffer, timeout)
            await anyio.lowlevel.checkpoint_if_cancelled()
        else:
            # It contains frames of other requests: a cancelled call must not interrupt it.
            with anyio.CancelScope(shield=True):
                await self._stream.write(buffer, _LONGEST_WRITE if timeout is None else timeout)

    async def aclose(self) -> None:
        """Close the stream."""
        self._network.forget(self)
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> httpcore2.AsyncNetworkStream:
        """Return TLS over this stream; close this stream if that fails."""
        try:
            made = await self._network.unless_closed(
                lambda: self._stream.start_tls(ssl_context, server_hostname, timeout)
            )
        except BaseException:
            # If a tunnel through a proxy fails here, its connection stays in the pool of httpcore2.
            self._network.spoiled |= self._writes > 0
            await close(self)
            raise
        self._network.forget(self)
        return self._network.track(made, secure=True)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as httpcore2 has it
        """Return information about the stream."""
        return self._stream.get_extra_info(info)


class Closable(Protocol):
    """An object that can be closed: a stream, a body, a transport."""

    async def aclose(self) -> None:
        """Close it."""
        ...


async def close(thing: Closable) -> None:
    """Close `thing`, even if the call is cancelled; ignore exceptions."""
    with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
        await thing.aclose()


def _speaks_http2(stream: httpcore2.AsyncNetworkStream) -> bool:
    tls = stream.get_extra_info("ssl_object")
    return tls is not None and tls.selected_alpn_protocol() == "h2"
