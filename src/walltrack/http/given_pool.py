"""A connection pool of httpx's own beneath a layer, and what closing means for its calls.

Awaits: it sends requests, and closes what is left.
"""

from contextlib import suppress
from typing import Final

import anyio
import httpx

from walltrack.core import family
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import TransportClosedError
from walltrack.core.outcome import NOT_SENT_ERRORS
from walltrack.http.forwarding import ForwardingTransport, shown
from walltrack.http.release import discard
from walltrack.http.waits import Waits

_POOLS: Final = family.each("AsyncHTTPTransport")


def guarded_pool(transport: family.Transport) -> httpx.AsyncBaseTransport:
    """Return what sends by `transport`; if that is httpx's own pool, closing it ends its calls.

    Raises:
        TypeError: `transport` is not an asynchronous transport.
    """
    typed = family.typed(transport)
    return GivenPool(typed) if isinstance(typed, _POOLS) else typed


class GivenPool(ForwardingTransport):
    """End the calls of an `httpx.AsyncHTTPTransport` when it is closed.

    httpx closes the connections that are open, and lets a call that is connecting go on: its
    connection would stay open.

    Args:
        inner: The `AsyncHTTPTransport` that sends the requests.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        super().__init__(inner)
        self._latest: Waits | None = None

    def __repr__(self) -> str:
        return shown(self._inner)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`.

        Raises:
            TransportClosedError: The transport was closed while the call was in flight.
        """
        waits = self._latest = self._waits
        try:
            response = await self._inner.handle_async_request(request)
        except Exception as error:
            if not waits.over:
                raise
            unsent = isinstance(error, NOT_SENT_ERRORS)
            delivery = Delivery.NOT_SENT if unsent else Delivery.UNCERTAIN
            raise TransportClosedError(delivery=delivery, request=request) from error
        if waits.over:
            await self._close_what_is_left(waits, response)
            raise TransportClosedError(delivery=Delivery.UNCERTAIN, request=request)
        return response

    async def _close_what_is_left(self, waits: Waits, response: httpx.Response) -> None:
        await discard(response)  # its body is not read, so this closes an HTTP/1.1 connection
        if self._latest is waits:  # no call has begun since, so no connection is anyone else's
            with anyio.CancelScope(shield=True), suppress(Exception):
                await self._inner.aclose()
