"""What sends the requests of a client that can be closed and opened again."""

from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from walltrack.core import family


class Connections(family.AsyncBaseTransport):
    """Makes a transport for the first request, and a new one for the first after each closing.

    The layers around it, and what they have learnt, outlive the connections so.

    Args:
        make: Makes the transport.
    """

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport]) -> None:
        self._make = make
        self._transport: httpx.AsyncBaseTransport | None = None

    def handle_async_request(self, request: httpx.Request) -> Coroutine[Any, Any, httpx.Response]:
        """Send `request`."""
        # Not `async`: it is one coroutine less for every call.
        if self._transport is None:
            self._transport = self._make()
        return self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections, if there are any."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport!r})"
