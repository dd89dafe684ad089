"""The two families of httpx, and all that has to know that there are two.

httpx2 is a maintained fork of httpx, with the same API and classes of its own: its client accepts
its own streams only, and its users catch its own exceptions. What is built on the names below
belongs to both families wherever httpx2 is installed, and to httpx alone elsewhere.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

try:
    import httpx2
except ImportError:
    httpx2 = None  # type: ignore[assignment]  # nobody asks for it then

FAMILIES: Final[tuple[Any, ...]] = (httpx,) if httpx2 is None else (httpx, httpx2)


def each(*names: str) -> tuple[type[Any], ...]:
    """The classes of these names in each family, for `isinstance` and `except`."""
    return tuple(getattr(family, name) for family in FAMILIES for name in names)


def _of_all(name: str) -> type[Any]:
    return type(name, each(name), {"__doc__": f"The {name} of every family."})


if TYPE_CHECKING:
    AsyncBaseTransport = httpx.AsyncBaseTransport
    AsyncByteStream = httpx.AsyncByteStream
    TimeoutException = httpx.TimeoutException
    TransportError = httpx.TransportError
else:
    AsyncBaseTransport = _of_all("AsyncBaseTransport")
    AsyncByteStream = _of_all("AsyncByteStream")
    TimeoutException = _of_all("TimeoutException")
    TransportError = _of_all("TransportError")

URLS: Final = each("URL")
REQUESTS: Final = each("Request")
BYTES_IN_MEMORY: Final = frozenset(each("ByteStream"))
ASYNC_STREAMS: Final = each("AsyncByteStream")
SYNC_STREAMS: Final = each("SyncByteStream")
LOGGERS: Final = tuple(family.__name__ for family in FAMILIES)
CORES: Final = frozenset({"httpcore", "httpcore2"})
"""The packages whose exceptions tell by their class how far a request came."""


def default_transport() -> httpx.AsyncBaseTransport:
    """What sends requests when nobody said what should."""
    return httpx.AsyncHTTPTransport() if len(FAMILIES) == 1 else HTTPTransport()


class HTTPTransport(AsyncBaseTransport):
    """Sends each request through an `AsyncHTTPTransport` of the family that it belongs to."""

    def __init__(self) -> None:
        self._transports: dict[str, httpx.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`."""
        family = type(request).__module__
        transport = self._transports.get(family)
        if transport is None:
            (home,) = (home for home in FAMILIES if isinstance(request, home.Request))
            transport = self._transports[family] = home.AsyncHTTPTransport()
        return await transport.handle_async_request(request)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.aclose()

    def __repr__(self) -> str:
        return "AsyncHTTPTransport()"
