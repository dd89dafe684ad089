"""The sockets of one pool: they are opened, tracked and finally closed here.

Awaits: httpcore2 connects through this class.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import anyio
import httpcore2
import sniffio

from walltrack.http.asyncio_backend import AsyncioBackend
from walltrack.http.options import SocketOption
from walltrack.http.stream import CLOSED, Stream, close

_HIGHEST_PORT: Final = 65535


class NetworkClosedError(Exception):
    """Raised instead of connecting after the network was closed: nothing was sent."""


class Network(httpcore2.AsyncNetworkBackend):
    """Connect for one pool, and keep track of its connections until they are closed.

    httpcore2 closes the connections that it has established. It does not know those that are still
    being established when the pool is closed or their call is cancelled. This class closes them.

    Args:
        local_address: The local address to connect from, also to proxies.
        socket_options: Options that are set on each socket, also to proxies.
        negotiates: Whether a socket first carries a negotiation, as with SOCKS, before the request.
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
        """Whether the pool of httpcore2 still contains a connection that cannot be used."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's interface
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a host."""
        if port > _HIGHEST_PORT:  # for which asyncio raises a group of OverflowErrors
            raise httpcore2.ConnectError(f"port {port} does not exist: {_HIGHEST_PORT} is the last")
        del local_address, socket_options  # not used, because httpcore2 omits them for proxies
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
        """Return what `act` returns; cancel it when the network is closed.

        Raises:
            NetworkClosedError: The network is closed. A stream that `act` returned has been closed.
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
        raise NetworkClosedError(CLOSED)

    def track(self, stream: httpcore2.AsyncNetworkStream, *, secure: bool) -> Stream:
        """Keep track of a stream that the current task has made."""
        self.connected += 1
        task = anyio.get_current_task().id
        tracked = Stream(stream, self, secure=secure, task=task, number=self.connected)
        self._streams.add(tracked)
        return tracked

    def forget(self, stream: Stream) -> None:
        """Stop tracking a stream: it was closed, or replaced by TLS over it."""
        self._streams.discard(stream)

    async def close_lost(self, since: int, *, secure: bool) -> None:
        """Close what the current task has connected since `since`, because its call failed.

        httpcore2 closes a connection once it is established: when the request is being sent, over
        TLS if the request needs it. Before that, a failed call leaves the stream open.

        Args:
            since: The value of `connected` when the call began.
            secure: Whether the request needs TLS.
        """
        task = anyio.get_current_task().id
        wanted = secure or self._negotiates
        for stream in tuple(self._streams):
            mine = stream.number > since and stream.task == task
            if mine and not stream.established(secure=wanted):
                self.spoiled = True
                await close(stream)

    def close(self) -> None:
        """Reject new connections, and cancel those that are being established."""
        self.closed = True
        for scope in tuple(self._connecting):
            scope.cancel()

    async def close_streams(self) -> None:
        """Close all open streams."""
        for stream in tuple(self._streams):
            await close(stream)

    async def _connect(
        self, connect: Callable[[], Awaitable[httpcore2.AsyncNetworkStream]]
    ) -> httpcore2.AsyncNetworkStream:
        return self.track(await self.unless_closed(connect), secure=False)


def _backend() -> httpcore2.AsyncNetworkBackend:
    if sniffio.current_async_library() == "trio":
        return httpcore2.TrioBackend()
    return AsyncioBackend()
