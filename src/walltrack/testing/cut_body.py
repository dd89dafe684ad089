"""A response body that breaks off."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, Self

import anyio
import httpx

from walltrack.core import family

_MAX_BUFFERED_CHUNKS: Final = 64 * 1024
"""More chunks than httpcore can have in its buffer."""


class CutBody(family.AsyncByteStream):
    """Pass on the beginning of a body, then raise an exception, even if the body is shorter.

    Args:
        stream: The body; it is iterated as often as this one.
        max_bytes: How many bytes are passed on.
        broken: Called after `stream` is closed; returns the exception to raise.
    """

    def __init__(
        self, stream: httpx.AsyncByteStream, max_bytes: int, broken: Callable[[], Exception]
    ) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._broken = broken
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Beginning(self, aiter(self._stream), self._max_bytes, self._broken)

    async def aclose(self) -> None:
        """Close the body, unless it is closed already."""
        if not self._closed:
            self._closed = True
            await self._stream.aclose()


class _Beginning:
    """Iterate over the part before the cut.

    It is not a generator: after its exception, a generator would look like a complete body.
    """

    def __init__(
        self,
        body: CutBody,
        chunks: AsyncIterator[bytes],
        left: int,
        broken: Callable[[], Exception],
    ) -> None:
        self._body = body
        self._chunks = chunks
        self._left = left
        self._broken = broken

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._left > 0:
            with contextlib.suppress(StopAsyncIteration):
                part = (await anext(self._chunks))[: self._left]
                self._left -= len(part)
                return part
        if self._left >= 0:
            self._left = -1
            await self._break_off()
        raise self._broken()

    async def _break_off(self) -> None:
        try:
            # An iterator that is not read to its end finishes only when it is garbage-collected;
            # one that is cancelled finishes here. It must not be read after it was closed.
            with anyio.CancelScope() as scope, contextlib.suppress(Exception):
                scope.cancel()
                for _ in range(_MAX_BUFFERED_CHUNKS):  # one that never waits cannot be cancelled
                    await anext(self._chunks)
        finally:
            with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                await self._body.aclose()
