"""Whether a request can be sent again, and how to change one without touching the caller's."""

import copy
from collections.abc import AsyncIterator

import httpx

from walltrack.core import family


class OneShotStream(family.AsyncByteStream):
    """A request body that can be read only once, and knows whether its reading began."""

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

    httpx holds bytes, JSON, forms and multipart in memory, in classes of its own that are
    synchronous and asynchronous streams at once. Any other class may be readable once only,
    whatever it derives from. A multipart body is only as good as its files: a pipe cannot be read
    twice.
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
        file.seek(0)  # as httpx will; gzip's reader says that it can over a pipe, too
    except (AttributeError, OSError, ValueError):
        return False
    return True


def copy_of(request: httpx.Request) -> httpx.Request:
    """Return a copy to change: headers and extensions are its own, the body is shared."""
    clone = copy.copy(request)  # keeps all but the stream and the extensions
    clone.stream = request.stream
    clone.extensions = dict(request.extensions)
    clone.headers = request.headers.copy()
    return clone
