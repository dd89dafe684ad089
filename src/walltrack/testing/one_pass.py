"""A response body that can be read only once, like one on a connection."""

from collections.abc import AsyncIterator
from types import AsyncGeneratorType, ModuleType
from typing import Self

import anyio
import httpx

from walltrack.core import family


class OnePass(family.AsyncByteStream):
    """Pass a body on to clients of any family, and reject what a connection cannot do.

    A second iteration raises StreamConsumed, a read after closing raises StreamClosed, and a read
    during another read raises anyio's BusyResourceError. Closing it closes the body, and ends its
    iteration unless another task is reading.

    Args:
        stream: The body.
        home: The family of httpx whose exceptions are raised.
    """

    def __init__(self, stream: httpx.AsyncByteStream, home: ModuleType = httpx) -> None:
        self._stream = stream
        self._home = home
        self._iteration: _Iteration | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._iteration is not None:
            raise self._home.StreamConsumed
        self._iteration = _Iteration(aiter(self._stream), self._home.StreamClosed)
        return self._iteration

    async def aclose(self) -> None:
        """Close the body."""
        try:
            await self._stream.aclose()
        finally:
            if self._iteration is not None:
                await self._iteration.end()


class _Iteration:
    """The only iteration. Not the stream itself, since `aiter` is called on iterators as well."""

    def __init__(self, chunks: AsyncIterator[bytes], closed: type[Exception]) -> None:
        self._chunks = chunks
        self._closed = closed
        self._ended = self._reading = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise self._closed
        if self._reading:
            raise anyio.BusyResourceError("reading from")
        self._reading = True
        try:
            return await anext(self._chunks)
        finally:
            self._reading = False

    async def end(self) -> None:
        self._ended = True
        if isinstance(self._chunks, AsyncGeneratorType) and not self._reading:
            await self._chunks.aclose()
