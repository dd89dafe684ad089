"""The two families of httpx, httpx and httpx2, and the code that depends on which one is used.

httpx2 is a maintained fork of httpx with the same API but its own classes: its client accepts only
its own streams, and its users catch its own exceptions. The classes below belong to both families
once the program has imported httpx2; before that, only to httpx.

This module never imports httpx2, which may be installed only because another package needs it. It
looks for httpx2 among the imported modules when a transport of this library is made or opened, and
when a class is compared. If it finds httpx2, the httpx2 classes become additional bases of the
classes below, and so of all their subclasses.
"""

import sys
from functools import cache, reduce
from operator import or_
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, cast

import httpx

if TYPE_CHECKING:
    import httpx2

_SECOND: Final = "httpx2"

FAMILIES: Final[list[Any]] = [httpx]
"""The families that the program has imported."""

BYTES_IN_MEMORY: Final[set[type[Any]]] = {httpx.ByteStream}
LOGGERS: Final = (httpx.__name__, _SECOND) if httpx.__name__ != _SECOND else (_SECOND,)
CORES: Final = frozenset({"httpcore", "httpcore2"})
"""Packages whose exception classes show how far a request got."""


def notice() -> bool:
    """Return whether the program has imported httpx2; if it has, add its classes as bases."""
    if len(FAMILIES) > 1:
        return True
    second: Any = sys.modules.get(_SECOND)
    if second in (None, httpx):  # a program may replace httpx by httpx2: then there is one family
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
    """A class that represents classes of httpx2 in `isinstance` and `issubclass`."""

    names: tuple[str, ...] = ()

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls._found())

    def __subclasscheck__(cls, kind: type[Any]) -> bool:
        return cls is kind or issubclass(kind, cls._found())

    def _found(cls) -> tuple[type[Any], ...]:
        return tuple(getattr(FAMILIES[1], name) for name in cls.names) if notice() else ()


def each(*names: str) -> tuple[type[Any], ...]:
    """Return the classes with these names in each family, for `isinstance` and `issubclass`.

    The last class of the tuple looks up the classes of httpx2 when it is used. `except` does not
    recognise it.
    """
    known = tuple(getattr(httpx, name) for name in names)
    bases = (Exception,) if all(issubclass(kind, Exception) for kind in known) else ()
    late = _OfSecond(f"{', '.join(names)} of {_SECOND}", bases, {"names": names})
    return (*known, late)


def _of_all(name: str) -> type[Any]:
    return type(name, (getattr(httpx, name),), {"__doc__": f"The {name} of every family."})


if TYPE_CHECKING:
    Auth = httpx.Auth | httpx2.Auth
    Transport = httpx.AsyncBaseTransport | httpx2.AsyncBaseTransport
    # A layer is a transport of both families, but its methods have the types of httpx only. mypy
    # would report that in each layer. So for mypy, to which `MYPY` is always true, the class of
    # httpx2 is `Any`.
    MYPY = False
    if MYPY:
        _OfHttpx2: Any = httpx2.AsyncBaseTransport

        _SyncOfHttpx2: Any = httpx2.BaseTransport

        class AsyncBaseTransport(httpx.AsyncBaseTransport, _OfHttpx2):  # type: ignore[misc]
            """Typed by httpx, and taken for httpx2's."""

        class BaseTransport(httpx.BaseTransport, _SyncOfHttpx2):  # type: ignore[misc]
            """Typed by httpx, and taken for httpx2's."""
    else:

        class AsyncBaseTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
            """A transport of both families."""

        class BaseTransport(httpx.BaseTransport, httpx2.BaseTransport):
            """A synchronous transport of both families."""

    AsyncByteStream = httpx.AsyncByteStream
    SyncByteStream = httpx.SyncByteStream
    PoolTimeout = httpx.PoolTimeout
    TimeoutException = httpx.TimeoutException
    TransportError = httpx.TransportError
else:
    Auth = reduce(or_, each("Auth"))
    Transport = reduce(or_, each("AsyncBaseTransport"))
    AsyncByteStream = _of_all("AsyncByteStream")
    SyncByteStream = _of_all("SyncByteStream")
    PoolTimeout = _of_all("PoolTimeout")
    TimeoutException = _of_all("TimeoutException")
    TransportError = _of_all("TransportError")

    class AsyncBaseTransport(httpx.AsyncBaseTransport):
        """Has the types of httpx, and is accepted by httpx2."""

        # With a docstring, tools would show this signature instead of that of `__init__`.
        def __new__(cls, *_: object, **__: object) -> Self:  # noqa: D102
            # An object that belongs to every family.
            return object.__new__(serving(cls, None))

        # Not seen by type checkers, which say by themselves that this is no synchronous transport.
        def handle_request(self, _: object) -> NoReturn:
            """Explain how to use this from a synchronous client.

            Raises:
                TypeError: Always.
            """
            name = type(self).__name__
            raise TypeError(
                f"{name} is asynchronous: give it to an httpx.AsyncClient, or wrap it for a "
                f"synchronous one: httpx.Client(transport=SyncTransport({name}(...)))"
            )

        def __enter__(self) -> NoReturn:
            self.handle_request(None)

        def __exit__(self, *_: object) -> None:
            """Never called: `__enter__` raises."""

    class BaseTransport(httpx.BaseTransport):
        """Has the types of httpx, and is accepted by httpx2."""

        # As above; an object that belongs to the families that its inner transport serves.
        def __new__(cls, transport: object = None, *_: object, **__: object) -> Self:  # noqa: D102
            return object.__new__(serving(cls, transport))


_OURS: Final = (AsyncByteStream, SyncByteStream, PoolTimeout, TimeoutException, TransportError)

URLS: Final = each("URL")
REQUESTS: Final = each("Request")
ASYNC_STREAMS: Final = each("AsyncByteStream")
SYNC_STREAMS: Final = each("SyncByteStream")
STATUS_ERRORS: Final = each("HTTPStatusError")

notice()


def serving(kind: type[Any], inner: object) -> type[Any]:
    """Return `kind`, or a subclass of the same name that belongs to the families of `inner`.

    The MRO of the subclass has the families in the order of `inner`: SDKs read from it for which
    client a transport was made.

    Args:
        kind: A class of transports, asynchronous or synchronous.
        inner: The asynchronous transport that sends the requests; None if it serves every family.
    """
    base = "BaseTransport" if issubclass(kind, httpx.BaseTransport) else "AsyncBaseTransport"
    if not notice() or issubclass(kind, getattr(FAMILIES[1], base)):
        return kind
    bases = [home.AsyncBaseTransport for home in FAMILIES]
    served = [base for base in type(inner).__mro__ if base in bases] or bases
    made: type[Any] = kind
    if served != bases[:1]:
        second_first = served[0] is bases[1]
        made = _variant(kind, base, second_first)  # type: ignore[arg-type]  # it is hashable
    return made


@cache
def _variant(kind: type[Any], base_name: str, second_first: bool) -> type[Any]:  # noqa: FBT001 - for the cache
    base = _second_first(base_name) if second_first else getattr(FAMILIES[1], base_name)
    names = ("__module__", "__qualname__", "__doc__")
    make: Any = type(kind)  # which may be another metaclass
    made: type[Any] = make(
        kind.__name__, (kind, base), {name: getattr(kind, name) for name in names}
    )
    return made


@cache
def _second_first(base_name: str) -> type[Any]:
    first, second = (getattr(home, base_name) for home in FAMILIES)
    return type(
        first.__name__,
        (second, first),
        {"__doc__": f"The {base_name} of httpx2, then that of httpx."},
    )


def home_of(request: httpx.Request) -> ModuleType:
    """Return the family that `request` belongs to.

    Raises:
        TypeError: `request` belongs to neither family.
    """
    if isinstance(request, httpx.Request):
        return httpx
    if notice() and isinstance(request, FAMILIES[1].Request):
        return cast("ModuleType", FAMILIES[1])
    raise TypeError(f"request must be a Request of httpx or httpx2, got {type(request)!r}")


def typed(transport: Transport) -> httpx.AsyncBaseTransport:
    """Return an asynchronous transport of either family, with the type that httpx gives it.

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
