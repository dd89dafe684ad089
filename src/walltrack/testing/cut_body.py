"""A response body that breaks off."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, Self

import anyio
import httpx

from walltrack.core import family

_MAX_BUFFERED_CHUNKS: Final = 64 * 1024
"""What httpcore reads at once holds fewer."""


class CutBody(family.AsyncByteStream):
    """Passes on the beginning of a body, and breaks off; also if the body is no longer than that.

    Args:
        stream: The body.
        max_bytes: How much of it is passed on.
        broken: Called when it breaks off, once `stream` is closed; makes what is raised.
    """

    def __init__(
        self, stream: httpx.AsyncByteStream, max_bytes: int, broken: Callable[[], Exception]
    ) -> None:
        self._stream = stream
        self._left = max_bytes
        self._broken = broken
        self._chunks: AsyncIterator[bytes] | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._left > 0:
            self._chunks = self._chunks or aiter(self._stream)
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self._chunks = None
            else:
                part = chunk[: self._left]
                self._left -= len(part)
                return part
        self._left = 0
        await self._break_off()
        raise self._broken()

    async def aclose(self) -> None:
        """Close the body, unless it is closed already."""
        if not self._closed:
            self._closed = True
            await self._stream.aclose()

    async def _break_off(self) -> None:
        with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
            await self.aclose()
        if self._chunks is None:
            return
        # An iterator that is dropped half-way finishes only when it is collected; one that is
        # cancelled finishes here.
        chunks, self._chunks = self._chunks, None
        with anyio.CancelScope() as scope, contextlib.suppress(Exception):
            scope.cancel()
            for _ in range(_MAX_BUFFERED_CHUNKS):  # one that never waits hears of no cancellation
                await anext(chunks)
