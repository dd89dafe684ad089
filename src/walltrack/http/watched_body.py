"""The only reader of a response's stream, which all layers and the caller share.

Awaits: bodies are read, closed and discarded here.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from types import AsyncGeneratorType
from typing import Any, Final, Self

import anyio
import httpx

from walltrack.core import family

_MAX_BUFFERED_BYTES: Final = 64 * 1024
"""How much httpcore reads from its socket at once: up to this much, it returns without waiting."""


class WatchedBody(family.AsyncByteStream):
    """Pass a body through unchanged, report once how it ended, and read ahead if asked to.

    Only this class iterates over the stream, once, and never after it was closed: a connection that
    was returned to its pool belongs to another request. Chunks that were read ahead are kept for
    the reader. A body that is completely in memory can be read any number of times. All layers
    around a response share one object: see `watched`.

    Args:
        stream: The body.
        on_end: Called once with `context` and one more argument: None if the body was read to its
            end or closed early, else the exception that reading it raised.
        context: The first arguments of `on_end`.
    """

    _chunks: Any = None  # the iterator over the stream; None before the first read
    _whole: list[bytes] | None = None  # the rest of the body, if it is in memory
    _kept: Iterator[bytes] = iter(())  # chunks that were read ahead, and are not yet returned
    _on_close: Callable[[], None] | None = None
    _has_ended = False
    _is_closed = False

    def __init__(
        self,
        stream: httpx.AsyncByteStream,
        on_end: Callable[..., None] | None = None,
        *context: object,
    ) -> None:
        self._stream = stream
        self._on_end = on_end
        self._context = context

    def __repr__(self) -> str:
        state = "ended" if self._has_ended else "open"
        return f"<{type(self).__name__} {'in memory' if self.in_memory else state}>"

    @property
    def kept(self) -> list[bytes] | None:
        """The rest of the body if it is in memory, else None."""
        return self._whole

    @property
    def in_memory(self) -> bool:
        """Whether the stream was read to its end, so that the rest of the body is in memory."""
        return self._whole is not None

    def when_ended(self, callback: Callable[..., None], *context: object) -> None:
        """Add another `on_end` callback; call it at once if the body has already ended."""
        if self._has_ended:
            callback(*context, None)
        elif self._on_end is None:
            self._on_end, self._context = callback, context
        else:
            self._on_end = _both(partial(self._on_end, *self._context), partial(callback, *context))
            self._context = ()

    def when_closed(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the body is closed; at once if it is already closed."""
        if self._is_closed:
            callback()
            return
        on_close = self._on_close
        self._on_close = callback if on_close is None else _both(on_close, callback)

    def __aiter__(self) -> Self:
        # Not a generator: if it is not read to its end, it finishes only when garbage-collected.
        if self._whole is not None:
            self._kept = iter(self._whole)
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._kept:
            return chunk
        if self._whole is not None:
            raise StopAsyncIteration
        chunks = self._chunks
        if chunks is None:
            chunks = self._chunks = aiter(self._stream)
        try:
            more: bytes = await chunks.__anext__()
        except StopAsyncIteration:
            self._whole, self._chunks = [], None
            self._end(None)
            raise
        except GeneratorExit:  # the reader has stopped; a cancellation or closing follows
            self._chunks = _CLOSED
            raise
        except BaseException as error:
            self._fail(error)
            raise
        return more

    async def read_ahead(self, max_bytes: int) -> bool:
        """Read the body to its end, or until it exceeds `max_bytes`, and keep it for the reader.

        The reader still has to close it; until then, the connection stays open.

        Returns:
            False if there is more than `max_bytes`. What was read is kept, and the rest still has
            to be read.
        """
        if self._whole is not None:
            return _size(self._whole) <= max_bytes
        chunks, left = self._chunks, max_bytes
        if chunks is None:
            chunks, read = aiter(self._stream), list[bytes]()
            self._chunks = chunks
        else:
            read = list(self._kept)
            left -= _size(read)
        try:
            try:
                while left >= 0:
                    chunk = await chunks.__anext__()  # `async for` would call `aiter` again
                    read.append(chunk)
                    left -= len(chunk)
            except StopAsyncIteration:
                self._whole, self._chunks = read, None
                self._end(None)
                return True
        except BaseException as error:  # also one that `on_end` raises
            self._fail(error)
            # An error in closing must not replace a cancellation.
            with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                await self.aclose()
            raise
        self._kept = iter(read)
        return False

    async def aclose(self) -> None:
        """Close the body once; closing it early is not an error."""
        if self._is_closed:
            return
        self._is_closed = True
        chunks = self._chunks
        if self._whole is None:
            self._chunks = _CLOSED
        try:
            self._end(None)
        finally:
            try:
                await self._stream.aclose()
            finally:
                try:
                    # httpx2 closes the generators that it reads from, but cannot see one behind
                    # this class. If another task is still reading, it will find the body closed.
                    if isinstance(chunks, AsyncGeneratorType) and not chunks.ag_running:
                        await chunks.aclose()
                finally:
                    on_close, self._on_close = self._on_close, None
                    if on_close is not None:
                        on_close()

    async def abandon(self) -> None:
        """Close a body that was only partly read, and end its iterators at once.

        An iterator that is not read to its end finishes only when it is garbage-collected, and
        closing a generator does not end those that it reads from. A cancelled read ends them all.
        """
        chunks = self._chunks
        try:
            if chunks is not None and self._whole is None:
                with anyio.CancelScope() as scope, contextlib.suppress(Exception):
                    scope.cancel()
                    left = _MAX_BUFFERED_BYTES  # a stream that never waits cannot be cancelled
                    while left > 0:
                        left -= len(await chunks.__anext__()) or 1
        finally:
            with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                await self.aclose()

    def _fail(self, error: BaseException) -> None:
        self._chunks = _CLOSED  # after an exception, an iterator looks like a complete one
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self._has_ended = True
        on_end = self._on_end
        if on_end is not None:
            self._on_end = None
            on_end(*self._context, error)


class _Closed:
    """The iterator of a closed body."""

    async def __anext__(self) -> bytes:
        raise httpx.StreamClosed


_CLOSED: Final = _Closed()


def _both(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls both functions, even if the first one raises."""

    def call(*arguments: object) -> None:
        try:
            first(*arguments)
        finally:
            second(*arguments)

    return call


def _size(chunks: list[bytes]) -> int:
    return sum(map(len, chunks))


def watched(response: httpx.Response) -> WatchedBody:
    """Return the body of `response`; wrap it in a `WatchedBody` if it is not yet one."""
    body: Any = response.stream  # the type also allows synchronous streams
    if isinstance(body, WatchedBody):
        return body
    response.stream = wrapped = WatchedBody(body)
    return wrapped
