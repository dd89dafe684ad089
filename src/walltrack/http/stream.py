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
        """Return what `act` returns; end it when the network is closed."""
        ...

    def track(self, stream: httpcore2.AsyncNetworkStream, *, secure: bool) -> "Stream":
        """Keep track of a stream that the current task has made."""
        ...

    def forget(self, stream: "Stream") -> None:
        """Stop tracking a stream."""
        ...


class Stream(httpcore2.AsyncNetworkStream):
    """A socket, or TLS over one, that its network knows until it is closed."""

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
        """Whether a request is sent over this, after all steps of connecting."""
        needed = _OPENING + 1 if self._shared else 1
        return self._writes >= needed and self._secure >= secure

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        """Read what there is.

        Raises:
            ReadError: The network is closed, or the peer breaks TLS: httpcore2 lets that through.
        """
        try:
            data = await self._stream.read(max_bytes, timeout)
        except ssl.SSLError as error:
            raise httpcore2.ReadError(error) from error
        if self._network.closed:  # or the end of the stream would pass for the end of a body
            raise httpcore2.ReadError(CLOSED)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        """Write all of it; on a connection that requests share, also if the call is cancelled.

        Raises:
            WriteError: The network is closed.
        """
        if self._network.closed:
            raise httpcore2.WriteError(CLOSED)
        self._writes += 1
        if not self._shared:
            await self._stream.write(buffer, timeout)
        elif self._writes == _OPENING:
            # httpcore2 closes a connection whose opening was cancelled, but not right after it.
            await self._stream.write(buffer, timeout)
            await anyio.lowlevel.checkpoint_if_cancelled()
        else:
            # The frames of other requests are in it: a cancelled call must not cut it short.
            with anyio.CancelScope(shield=True):
                await self._stream.write(buffer, _LONGEST_WRITE if timeout is None else timeout)

    async def aclose(self) -> None:
        """Close it."""
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
            # A tunnel through a proxy that fails here stays in httpcore2's pool, and in its count.
            self._network.spoiled |= self._writes > 0
            await close(self)
            raise
        self._network.forget(self)
        return self._network.track(made, secure=True)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as httpcore2 has it
        """Return what is known of the stream."""
        return self._stream.get_extra_info(info)


class Closable(Protocol):
    """What can be closed: a stream, a body."""

    async def aclose(self) -> None:
        """Close it."""
        ...


async def close(thing: Closable) -> None:
    """Close something, also in a call that is cancelled; errors are of no interest any more."""
    with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
        await thing.aclose()


def _speaks_http2(stream: httpcore2.AsyncNetworkStream) -> bool:
    tls = stream.get_extra_info("ssl_object")
    return tls is not None and tls.selected_alpn_protocol() == "h2"
