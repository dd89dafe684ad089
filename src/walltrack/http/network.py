"""The sockets of one pool: made, kept track of, and closed with it for good.

Awaits: httpcore2 connects, reads and writes through these classes.
"""

import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

import anyio
import anyio.lowlevel
import httpcore2
import sniffio

from walltrack.http.options import SocketOption

_CLOSED = "the transport was closed"

_OPENING: Final = 1
"""The write that opens an HTTP/2 connection, before any request."""

_LONGEST_WRITE: Final = 30.0
"""Seconds for a write that cannot be cancelled, where the caller sets no limit."""


class NetworkClosedError(Exception):
    """Raised instead of connecting once the network is closed: nothing was sent."""


class Network(httpcore2.AsyncNetworkBackend):
    """Connect for one pool, until it is closed.

    httpcore2 closes the connections that it has established. It does not know those that are still
    being established when the pool is closed, or when their call is cancelled: this class does.

    Args:
        local_address: The address to connect from, also to proxies.
        socket_options: What is set on each socket, also to proxies.
        negotiates: Whether more than the request is written to a socket: SOCKS is spoken on it.
        multiplexes: Whether requests share each connection, also without TLS.
    """

    def __init__(
        self,
        local_address: str | None = None,
        socket_options: tuple[SocketOption, ...] | None = None,
        *,
        negotiates: bool = False,
        multiplexes: bool = False,
    ) -> None:
        self._local_address = local_address
        self._socket_options = socket_options
        self._negotiates = negotiates
        self.multiplexes = multiplexes
        self._connecting: set[anyio.CancelScope] = set()
        self._streams: set[Stream] = set()
        self.closed: bool = False
        self.connected: int = 0
        self.spoiled: bool = False
        """Whether httpcore2 counts a connection that is of no use, or would use it."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's interface
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a host."""
        del local_address, socket_options  # httpcore2 leaves them out for proxies
        return await self._connect(
            lambda: _backend().connect_tcp(
                host, port, timeout, self._local_address, self._socket_options
            )
        )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's interface
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a Unix domain socket."""
        del socket_options
        return await self._connect(
            lambda: _backend().connect_unix_socket(path, timeout, self._socket_options)
        )

    async def sleep(self, seconds: float) -> None:
        """Wait before connecting again."""
        await self.unless_closed(lambda: anyio.sleep(seconds))

    async def unless_closed(self, act: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - handed on
        """Return what `act` returns; end it when the network is closed.

        Raises:
            NetworkClosedError: The network is closed; a stream that `act` has made is closed, too.
        """
        made = None
        if not self.closed:
            with anyio.CancelScope() as scope:
                self._connecting.add(scope)
                try:
                    made = await act()
                finally:
                    self._connecting.discard(scope)
        if not self.closed:
            return made
        if made is not None:
            await close(made)
        raise NetworkClosedError(_CLOSED)

    def track(self, stream: httpcore2.AsyncNetworkStream, *, secure: bool) -> "Stream":
        """Keep track of a stream, which the current task has made."""
        self.connected += 1
        task = anyio.get_current_task().id
        tracked = Stream(stream, self, secure=secure, task=task, number=self.connected)
        self._streams.add(tracked)
        return tracked

    def forget(self, stream: "Stream") -> None:
        """Keep track of a stream no longer: it is closed, or became another one."""
        self._streams.discard(stream)

    async def close_lost(self, since: int, *, secure: bool) -> None:
        """Close what the current task has connected since `since`, in a call that failed.

        httpcore2 closes a connection once it is established: when the request is being sent, over
        TLS where the request wants it. Before that, it loses the stream.
        """
        task = anyio.get_current_task().id
        wanted = secure or self._negotiates
        for stream in tuple(self._streams):
            mine = stream.number > since and stream.task == task
            if mine and not stream.established(secure=wanted):
                self.spoiled = True
                await close(stream)

    def close(self) -> None:
        """Refuse to connect from now on, and end what is connecting."""
        self.closed = True
        for scope in tuple(self._connecting):
            scope.cancel()

    async def close_streams(self) -> None:
        """Close all that is open."""
        for stream in tuple(self._streams):
            await close(stream)

    async def _connect(
        self, connect: Callable[[], Awaitable[httpcore2.AsyncNetworkStream]]
    ) -> httpcore2.AsyncNetworkStream:
        return self.track(await self.unless_closed(connect), secure=False)


class Stream(httpcore2.AsyncNetworkStream):
    """A socket, or TLS over one, that its network knows until it is closed."""

    def __init__(
        self,
        stream: httpcore2.AsyncNetworkStream,
        network: Network,
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
            raise httpcore2.ReadError(_CLOSED)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        """Write all of it; on a connection that requests share, also if the call is cancelled.

        Raises:
            WriteError: The network is closed.
        """
        if self._network.closed:
            raise httpcore2.WriteError(_CLOSED)
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


def _backend() -> httpcore2.AsyncNetworkBackend:
    if sniffio.current_async_library() == "trio":
        return httpcore2.TrioBackend()
    return httpcore2.AnyIOBackend()
