"""The body of a request, which the calling thread generates.

Awaits: each chunk.
"""

import io
from typing import Any, Final, Self

import httpx

from walltrack.core import family
from walltrack.sync.call import Call

_IN_MEMORY: Final = frozenset({str, bytes, io.BytesIO})


def is_read_in_loop(stream: object) -> bool:
    """Return whether the event loop may read a body: in memory or from a disk, it does not wait.

    A multipart body with any other file is read by the calling thread: a pipe or a socket would
    hold up the calls of all threads.
    """
    if type(stream) in family.BYTES_IN_MEMORY:
        return True
    if not isinstance(stream, family.ASYNC_STREAMS):
        return False
    return all(map(_is_read_at_once, getattr(stream, "fields", ())))


def _is_read_at_once(field: object) -> bool:
    file: Any = getattr(field, "file", b"")
    source = getattr(file, "raw", file)  # beneath the buffer of `open`
    on_disk = type(source) is io.FileIO and source.seekable()
    return on_disk or type(source) in _IN_MEMORY


class Upload(family.AsyncByteStream):
    """Take each chunk in the thread that made the call, so that generators and files run there.

    Args:
        call: The call, whose thread waits for its response.
        stream: The body.
    """

    def __init__(self, call: Call, stream: httpx.SyncByteStream) -> None:
        self._call = call
        self._stream = stream
        self._chunks: Any = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk: bytes | None = await self._call.errand(self._next)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    def _next(self) -> bytes | None:
        if self._chunks is None:
            self._chunks = iter(self._stream)
        chunk: bytes | None = next(self._chunks, None)
        return chunk
