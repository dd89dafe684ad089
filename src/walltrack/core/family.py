"""The two families of httpx, and all that has to know that there are two.

httpx2 is a maintained fork of httpx, with the same API and classes of its own: its client accepts
its own streams only, and its users catch its own exceptions. What is built on the names below
belongs to both families once a program has imported httpx2, and to httpx alone before.

Nothing here imports httpx2, which is often installed for another package's sake. It is noticed when
a transport of this library is made or opened, or when the first object of its classes is met. Then
it becomes another base of the classes below, and so of all that derive from them.
"""

import sys
from functools import cache, reduce
from operator import or_
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Self, cast

import httpx

if TYPE_CHECKING:
    import httpx2

_SECOND: Final = "httpx2"

FAMILIES: Final[list[Any]] = [httpx]
"""The families that were noticed."""

BYTES_IN_MEMORY: Final[set[type[Any]]] = {httpx.ByteStream}
LOGGERS: Final = (httpx.__name__, _SECOND) if httpx.__name__ != _SECOND else (_SECOND,)
CORES: Final = frozenset({"httpcore", "httpcore2"})
"""The packages whose exceptions tell by their class how far a request came."""


def notice() -> bool:
    """Return whether httpx2 is known, which it is from now on if the program has imported it."""
    if len(FAMILIES) > 1:
        return True
    second: Any = sys.modules.get(_SECOND)
    if second in (None, httpx):  # a program may have it stand in for httpx: then it is but one
        return False
    try:
        more = [(kind, getattr(second, kind.__name__)) for kind in _OURS]
        body = second.ByteStream
    except AttributeError:  # it is just being imported
        return False
    for kind, base in more:
        kind.__bases__ = (*kind.__bases__, base)
    BYTES_IN_MEMORY.add(body)
    FAMILIES.append(second)
    return True


class _OfSecond(type):
    """A class that stands for some of httpx2's, for `isinstance` and `issubclass`."""

    names: tuple[str, ...] = ()

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls._found())

    def __subclasscheck__(cls, kind: type[Any]) -> bool:
        return cls is kind or issubclass(kind, cls._found())

    def _found(cls) -> tuple[type[Any], ...]:
        return tuple(getattr(FAMILIES[1], name) for name in cls.names) if notice() else ()


def each(*names: str) -> tuple[type[Any], ...]:
    """Return the classes of these names in each family, for `isinstance` and `issubclass`.

    Those of httpx2 are looked up when they are needed, by the last class of the tuple: it is none
    that `except` would recognise.
    """
    known = tuple(getattr(httpx, name) for name in names)
    bases = (Exception,) if all(issubclass(kind, Exception) for kind in known) else ()
    late = _OfSecond(f"{', '.join(names)} of {_SECOND}", bases, {"names": names})
    return (*known, late)


def _of_all(name: str) -> type[Any]:
    return type(name, (getattr(httpx, name),), {"__doc__": f"The {name} of every family."})


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
    AsyncByteStream = _of_all("AsyncByteStream")
    PoolTimeout = _of_all("PoolTimeout")
    TimeoutException = _of_all("TimeoutException")
    TransportError = _of_all("TransportError")

    class AsyncBaseTransport(httpx.AsyncBaseTransport):
        """The AsyncBaseTransport of every family."""

        def __new__(cls, *_: object, **__: object) -> Self:
            """Make one that belongs to every family."""
            return object.__new__(serving(cls, None))


_OURS: Final = (AsyncByteStream, PoolTimeout, TimeoutException, TransportError)

URLS: Final = each("URL")
REQUESTS: Final = each("Request")
ASYNC_STREAMS: Final = each("AsyncByteStream")
SYNC_STREAMS: Final = each("SyncByteStream")
STATUS_ERRORS: Final = each("HTTPStatusError")

notice()


def serving(kind: type[Any], inner: object) -> type[Any]:
    """Return `kind`, or a subclass of the same name that belongs to the families of `inner`.

    Its MRO names them in the same order: SDKs take from it which client a transport is made for.

    Args:
        kind: A class of transports.
        inner: The transport that sends the requests; None if it serves every family.
    """
    if not notice() or issubclass(kind, FAMILIES[1].AsyncBaseTransport):
        return kind
    bases = [home.AsyncBaseTransport for home in FAMILIES]
    served = [base for base in type(inner).__mro__ if base in bases] or bases
    made: type[Any] = kind
    if served != bases[:1]:
        made = _variant(kind, served[0] is bases[1])  # type: ignore[arg-type]  # it is hashable
    return made


@cache
def _variant(kind: type[Any], second_first: bool) -> type[Any]:  # noqa: FBT001 - for the cache
    base = _second_first() if second_first else FAMILIES[1].AsyncBaseTransport
    names = ("__module__", "__qualname__", "__doc__")
    make: Any = type(kind)  # which may be another metaclass
    made: type[Any] = make(
        kind.__name__, (kind, base), {name: getattr(kind, name) for name in names}
    )
    return made


@cache
def _second_first() -> type[Any]:
    first, second = (home.AsyncBaseTransport for home in FAMILIES)
    return type(first.__name__, (second, first), {"__doc__": "That of httpx2, then httpx's."})


def home_of(request: httpx.Request) -> ModuleType:
    """Return the family that `request` belongs to.

    Raises:
        TypeError: It is a request of neither.
    """
    if isinstance(request, httpx.Request):
        return httpx
    if notice() and isinstance(request, FAMILIES[1].Request):
        return cast("ModuleType", FAMILIES[1])
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
