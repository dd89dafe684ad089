"""The two families of httpx, and all that has to know that there are two.

httpx2 is a maintained fork of httpx, with the same API and classes of its own: its client accepts
its own streams only, and its users catch its own exceptions. What is built on the names below
belongs to both families wherever httpx2 is installed, and to httpx alone elsewhere.
"""

from functools import reduce
from operator import or_
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

import httpx

try:
    import httpx2
except ImportError:
    httpx2 = None  # type: ignore[assignment]  # nobody asks for it then

# Where a program has httpx2 stand in for httpx, both names mean the same package.
FAMILIES: Final[tuple[Any, ...]] = (httpx,) if httpx2 in (None, httpx) else (httpx, httpx2)


def each(*names: str) -> tuple[type[Any], ...]:
    """The classes of these names in each family, for `isinstance` and `except`."""
    return tuple(getattr(family, name) for family in FAMILIES for name in names)


def _of_all(name: str) -> type[Any]:
    return type(name, each(name), {"__doc__": f"The {name} of every family."})


if TYPE_CHECKING:
    Transport = httpx.AsyncBaseTransport | httpx2.AsyncBaseTransport
    # A layer is a transport of both families, and its methods are typed by httpx alone. mypy would
    # say so in each layer; to mypy, for which this name is always true, httpx2's is anything.
    MYPY = False
    if MYPY:
        _OfHttpx2: Any = httpx2.AsyncBaseTransport

        class AsyncBaseTransport(httpx.AsyncBaseTransport, _OfHttpx2):  # type: ignore[misc]
            """Typed by httpx, and taken for httpx2's."""
    else:

        class AsyncBaseTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
            """A transport of both families."""

    AsyncByteStream = httpx.AsyncByteStream
    PoolTimeout = httpx.PoolTimeout
    TimeoutException = httpx.TimeoutException
    TransportError = httpx.TransportError
else:
    Transport = reduce(or_, each("AsyncBaseTransport"))
    AsyncBaseTransport = _of_all("AsyncBaseTransport")
    AsyncByteStream = _of_all("AsyncByteStream")
    PoolTimeout = _of_all("PoolTimeout")
    TimeoutException = _of_all("TimeoutException")
    TransportError = _of_all("TransportError")

URLS: Final = each("URL")
REQUESTS: Final = each("Request")
BYTES_IN_MEMORY: Final = frozenset(each("ByteStream"))
ASYNC_STREAMS: Final = each("AsyncByteStream")
SYNC_STREAMS: Final = each("SyncByteStream")
STATUS_ERRORS: Final = each("HTTPStatusError")
LOGGERS: Final = tuple(family.__name__ for family in FAMILIES)
CORES: Final = frozenset({"httpcore", "httpcore2"})
"""The packages whose exceptions tell by their class how far a request came."""


def home_of(request: httpx.Request) -> ModuleType:
    """Return the family that `request` belongs to.

    Raises:
        TypeError: It is a request of neither.
    """
    for home in FAMILIES:
        if isinstance(request, home.Request):
            return cast("ModuleType", home)
    raise TypeError(f"request must be a Request of httpx or httpx2, got {type(request)!r}")


def typed(transport: Transport) -> httpx.AsyncBaseTransport:
    """Return an asynchronous transport of either family; here all is typed by httpx.

    Raises:
        TypeError: `transport` is something else: a synchronous transport, a client, a string.
    """
    sends = getattr(transport, "handle_async_request", None)
    if callable(sends) and not isinstance(transport, type):
        return cast("httpx.AsyncBaseTransport", transport)
    raise TypeError(
        "transport must be an asynchronous httpx transport, such as httpx.AsyncHTTPTransport(), "
        f"got {_described(transport)}"
    )


def _described(wrong: object) -> str:
    kind = type(wrong)
    if isinstance(wrong, type):
        return f"the class {wrong.__name__}: give an instance of it"
    if hasattr(wrong, "handle_request"):
        return f"the synchronous {kind.__name__}"
    if hasattr(wrong, "build_request"):
        return f"the client {kind.__name__}: give this transport to the client, by transport="
    return f"a {kind.__name__}"  # not its repr: a URL in it may hold a password
