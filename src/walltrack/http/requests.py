"""Whether a request can be sent again, and copies of requests that can be changed."""

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx

from walltrack.core import family
from walltrack.core.extensions import DELIVERY, GATE, OPEN_CALL

_FOR_OUTER_LAYERS: Final = (GATE, DELIVERY, OPEN_CALL)
"""Extensions that inner layers set on a request for outer layers to read."""


class OneShotStream(family.AsyncByteStream):
    """A request body that can be read only once, and records whether reading has begun."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self.touched: bool = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.touched = True
        return aiter(self._stream)

    async def aclose(self) -> None:
        """Close the body."""
        await self._stream.aclose()


def can_replay(request: httpx.Request) -> bool:
    """Return whether the body can be sent, or sent again, from its beginning.

    httpx keeps bytes, JSON, forms and multipart bodies in memory, in its own classes, which are
    both synchronous and asynchronous streams. A body of any other class may be readable only once,
    whatever its base class is. A multipart body can be replayed only if all its files can be: a
    pipe cannot be read twice.
    """
    stream = request.stream
    if type(stream) in family.BYTES_IN_MEMORY:
        return True
    if isinstance(stream, OneShotStream):
        return not stream.touched
    own = type(stream).__module__.partition(".")[0] in family.LOGGERS
    both_kinds = isinstance(stream, family.SYNC_STREAMS) and isinstance(
        stream, family.ASYNC_STREAMS
    )
    return own and both_kinds and all(map(_can_rewind, getattr(stream, "fields", ())))


def _can_rewind(field: object) -> bool:
    file = getattr(field, "file", b"")
    if isinstance(file, str | bytes):
        return True
    seekable = getattr(file, "seekable", None)
    if callable(seekable) and not seekable():
        return False
    try:
        file.seek(0)  # as httpx will; a gzip reader over a pipe reports wrongly that it can seek
    except (AttributeError, OSError, ValueError):
        return False
    return True


def copy_of(request: httpx.Request) -> httpx.Request:
    """Return a copy with its own headers and extensions, and the same body."""
    clone = with_extensions(request, dict(request.extensions))
    clone.headers = request.headers.copy()
    return clone


def read_once(request: httpx.Request) -> None:
    """Let a body that can be read only once be sent only once, and never empty.

    Raises:
        StreamConsumed: It was sent before. The exception is one of the request's family.
    """
    stream = request.stream
    if isinstance(stream, OneShotStream):
        if stream.touched:
            raise family.home_of(request).StreamConsumed
    elif isinstance(stream, family.ASYNC_STREAMS) and not can_replay(request):
        request.stream = OneShotStream(stream)


def with_extensions(request: httpx.Request, extensions: dict[str, Any]) -> httpx.Request:
    """Return a request that shares all with `request` but the extensions."""
    clone: httpx.Request = object.__new__(type(request))
    vars(clone).update(vars(request))
    clone.extensions = extensions
    return clone


def hand_up(below: httpx.Request, request: httpx.Request) -> None:
    """Let outer layers see on `request` what inner layers left on a copy of it for them."""
    for key in _FOR_OUTER_LAYERS:
        if key in below.extensions:
            request.extensions[key] = below.extensions[key]
        else:
            request.extensions.pop(key, None)  # of an earlier call: it was taken from the copy
