"""Whether a request can be sent again, and copies of requests that can be changed."""

import copy
from collections.abc import AsyncIterator

import httpx

from walltrack.core import family


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
    clone = copy.copy(request)  # copies all but the stream and the extensions
    clone.stream = request.stream
    clone.extensions = dict(request.extensions)
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
