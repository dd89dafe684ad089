"""Whether a request can be sent again, and how to change one without touching the caller's."""

import copy
from collections.abc import AsyncIterator

import httpx

from walltrack.core import family


class OneShotStream(family.AsyncByteStream):
    """A request body that can be read only once, and tells whether anybody began to."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self.touched = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.touched = True
        return aiter(self._stream)

    async def aclose(self) -> None:
        """Close the body."""
        await self._stream.aclose()


def can_replay(request: httpx.Request) -> bool:
    """Whether the body can be sent, or sent again, from its beginning.

    httpx gives bodies that it holds (bytes, JSON, forms, multipart) a stream of both kinds, and one
    of a single kind to an iterator that it was handed. A multipart body is only as good as its
    files: a pipe cannot be read twice.
    """
    stream = request.stream
    if type(stream) in family.BYTES_IN_MEMORY:
        return True
    if isinstance(stream, OneShotStream):
        return not stream.touched
    both_kinds = isinstance(stream, family.SYNC_STREAMS) and isinstance(
        stream, family.ASYNC_STREAMS
    )
    return both_kinds and all(map(_can_rewind, getattr(stream, "fields", ())))


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
    """A copy to change: headers and extensions are its own, the body is shared."""
    clone = copy.copy(request)  # keeps all but the stream and the extensions
    clone.stream = request.stream
    clone.extensions = dict(request.extensions)
    clone.headers = request.headers.copy()
    return clone
