"""How connections are made on asyncio.

Awaits: httpcore2 connects through this class.
"""

import asyncio
import select
from collections.abc import Iterable

import httpcore2

from walltrack.http.asyncio_stream import AsyncioStream
from walltrack.http.options import SocketOption
from walltrack.http.stream import close


class AsyncioBackend(httpcore2.AnyIOBackend):
    """Connect as anyio does, to the fastest address, then take the socket over."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's interface
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a host."""
        return await _taken_over(
            await super().connect_tcp(host, port, timeout, local_address, socket_options)
        )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a Unix domain socket."""
        return await _taken_over(await super().connect_unix_socket(path, timeout, socket_options))


async def _taken_over(stream: httpcore2.AsyncNetworkStream) -> httpcore2.AsyncNetworkStream:
    """Return a stream over the socket of `stream`, which is closed."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.SelectorEventLoop) or not hasattr(select, "poll"):
        return stream  # another loop's socket may not be taken over
    try:
        socket = stream.get_extra_info("socket").dup()
    except OSError:  # the process has no descriptor left
        return stream
    try:
        await close(stream)
        _, taken = await loop.create_connection(AsyncioStream, sock=socket)
    except BaseException as error:
        socket.close()
        if isinstance(error, OSError):
            raise httpcore2.ConnectError(error) from error
        raise
    return taken
