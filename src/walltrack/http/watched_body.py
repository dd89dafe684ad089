"""The one owner of a response body: it reads the stream below once, for every layer and the caller.

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
"""As much as httpcore reads from its socket at once: it hands this out without waiting."""


class WatchedBody(family.AsyncByteStream):
    """Pass a body through untouched, report once how it ended, and read ahead of the reader.

    The stream below is iterated once, by this class alone, and never again after it was closed: a
    connection that went back to its pool belongs to another request. What was read ahead is kept,
    and reading goes on behind it. A body that is whole in memory can be read any number of times.
    All layers around a response share one: see `watched`.

    Args:
        stream: The body.
        on_end: Called once, with `context` and then None when the body came to its end or was
            closed before, or the exception when reading it raised one.
        context: What `on_end` needs to know besides.
    """

    _chunks: Any = None  # the iterator over the stream below; None before the first read
    _whole: list[bytes] | None = None  # all that is still to be read, when it is in memory
    _kept: Iterator[bytes] = iter(())  # what was read ahead and not taken yet
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
    def in_memory(self) -> bool:
        """Whether nothing is left to be read from the stream below."""
        return self._whole is not None

    def when_ended(self, callback: Callable[..., None], *context: object) -> None:
        """Have `callback` called as `on_end` is; at once if the body has ended already."""
        if self._has_ended:
            callback(*context, None)
        elif self._on_end is None:
            self._on_end, self._context = callback, context
        else:
            self._on_end = _both(partial(self._on_end, *self._context), partial(callback, *context))
            self._context = ()

    def when_closed(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, when the body is closed; at once if it is closed already."""
        if self._is_closed:
            callback()
            return
        on_close = self._on_close
        self._on_close = callback if on_close is None else _both(on_close, callback)

    def __aiter__(self) -> Self:
        # Not a generator: one that is dropped half-way finishes only when it is collected.
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
        except GeneratorExit:  # the reader went away; a cancellation or the closing will tell
            self._chunks = _CLOSED
            raise
        except BaseException as error:
            self._fail(error)
            raise
        return more

    async def read_ahead(self, max_bytes: int) -> bool:
        """Read the body to its end, or until it exceeds `max_bytes`; reading it gives it all.

        Closing it stays the reader's business, who finds the connection as it was until then.

        Returns:
            False when there is more than `max_bytes`. What was read is kept, and the rest is still
            to come.
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
            while left >= 0:
                chunk = await chunks.__anext__()  # `async for` would ask it for an iterator again
                read.append(chunk)
                left -= len(chunk)
        except StopAsyncIteration:
            self._whole, self._chunks = read, None
            self._end(None)
            return True
        except BaseException as error:
            self._fail(error)
            # What goes wrong in closing must not take the place of a cancellation.
            with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                await self.aclose()
            raise
        self._kept = iter(read)
        return False

    async def aclose(self) -> None:
        """Close the body, once; a reader that closes it early has had what it wanted."""
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
                    # httpx2 ends the generators that it reads from, and sees none behind this
                    # class. Another task may still be reading; it finds the body closed.
                    if isinstance(chunks, AsyncGeneratorType) and not chunks.ag_running:
                        await chunks.aclose()
                finally:
                    on_close, self._on_close = self._on_close, None
                    if on_close is not None:
                        on_close()

    async def abandon(self) -> None:
        """Close a body that was read in part, and end its iteration here and now.

        An iterator that is dropped half-way ends only when it is collected, and closing a generator
        does not end those that it reads from. A read that is cancelled ends them all.
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
        self._chunks = _CLOSED  # an iterator that raised would now seem to have come to its end
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self._has_ended = True
        on_end = self._on_end
        if on_end is not None:
            self._on_end = None
            on_end(*self._context, error)


class _Closed:
    """What a closed body is read from."""

    async def __anext__(self) -> bytes:
        raise httpx.StreamClosed


_CLOSED: Final = _Closed()


def _both(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls both with what it is given, also when the first one raises."""

    def call(*arguments: object) -> None:
        try:
            first(*arguments)
        finally:
            second(*arguments)

    return call


def _size(chunks: list[bytes]) -> int:
    return sum(map(len, chunks))


def watched(response: httpx.Response) -> WatchedBody:
    """Return the body of `response`, wrapped in a `WatchedBody` unless it is one already."""
    body: Any = response.stream  # typed for clients of both kinds; this one is asynchronous
    if isinstance(body, WatchedBody):
        return body
    response.stream = wrapped = WatchedBody(body)
    return wrapped
