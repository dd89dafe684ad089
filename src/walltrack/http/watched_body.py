"""A response body that tells once how it ended, and that can be read ahead of its reader."""

import contextlib
from collections.abc import Callable
from types import AsyncGeneratorType
from typing import Any, Final, Self

import anyio
import httpx

from walltrack.core import family

_MAX_BUFFERED_CHUNKS: Final = 64 * 1024
"""What httpcore reads at once holds fewer."""


class WatchedBody(family.AsyncByteStream):
    """Passes a body through untouched, and tells once how it ended.

    Args:
        stream: The body.
        on_end: Called once, with `context` and then None when the body came to its end or the
            reader closed it, or the exception when reading it raised one.
        context: What `on_end` has to know besides.
    """

    _at_close: tuple[Callable[[], None], ...] = ()
    _more: Any = None  # what the reader takes from, once what was read ahead is used up

    def __init__(
        self,
        stream: httpx.AsyncByteStream,
        on_end: Callable[..., None] | None = None,
        *context: object,
    ) -> None:
        self._stream = stream
        self._rest: Any = stream  # what is still to come: an iterable, then its iterator, then None
        self._read: list[bytes] | tuple[()] = ()
        self._on_end = on_end
        self._context = context

    def __aiter__(self) -> Self:
        # No generator: one that is dropped half-way would finish only when it is collected.
        self._again = iter(self._read)
        self._more = None if self._rest is None else aiter(self._rest)
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._again:
            return chunk
        if self._more is None:
            raise StopAsyncIteration
        try:
            more: bytes = await self._more.__anext__()
        except StopAsyncIteration:
            self._more = None
            self._end(None)
            raise
        except GeneratorExit:  # the reader went away; a cancellation or the closing will tell
            raise
        except BaseException as error:
            self._end(error)
            raise
        return more

    @property
    def in_memory(self) -> bool:
        """Whether all of it was read ahead."""
        return self._rest is None

    def when_closed(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, when the body is closed, in whatever way that ends."""
        self._at_close += (callback,)

    async def read_ahead(self, max_bytes: int) -> bool:
        """Read the body to its end; iterating it afterwards gives the same chunks.

        Closing it stays its reader's business: until then he finds the connection as it was.

        Returns:
            False when there is more than `max_bytes`. It is still open then, and iterating it gives
            what was read, and then the rest.
        """
        self._rest = chunks = aiter(self._stream)
        self._read = read = []
        left = max_bytes
        try:
            async for chunk in chunks:
                read.append(chunk)
                left -= len(chunk)
                if left < 0:
                    self._more = chunks  # for the closing to end, if nobody reads on
                    return False
        except BaseException as error:
            self._end(error)
            # What goes wrong in closing must not take the place of a cancellation.
            with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                await self.aclose()
            raise
        self._rest = None
        self._end(None)
        return True

    async def aclose(self) -> None:
        """Close the body; a reader that closes it early has had what it wanted."""
        try:
            self._end(None)
        finally:
            try:
                await self._stream.aclose()
            finally:
                try:
                    if self._more is not None:
                        await self._end_iteration()
                finally:
                    if self._at_close:
                        self._tell_of_closing()

    async def _end_iteration(self) -> None:
        # httpx2 ends the generators that it reads from, and sees none behind this class. Another
        # task may be reading still; it finds the body closed.
        more, self._more = self._more, None
        if isinstance(more, AsyncGeneratorType) and not more.ag_running:
            await more.aclose()

    async def abandon(self) -> None:
        """Close a body that was read ahead in part, and end its iteration here and now.

        An iterator that is dropped half-way finishes only when it is collected.
        """
        self._more = None  # ending it would not end those that it reads from; cancelling it does
        await self.aclose()
        with anyio.CancelScope() as scope, contextlib.suppress(Exception):
            scope.cancel()
            for _ in range(_MAX_BUFFERED_CHUNKS):  # one that never waits hears of no cancellation
                await anext(self._rest)

    def _tell_of_closing(self) -> None:
        callbacks, self._at_close = self._at_close, ()
        for callback in callbacks:
            callback()

    def _end(self, error: BaseException | None) -> None:
        on_end = self._on_end
        if on_end is not None:
            self._on_end = None
            on_end(*self._context, error)


def watched(response: httpx.Response) -> WatchedBody:
    """The body of `response`, wrapped in a `WatchedBody` unless it is one already."""
    body: Any = response.stream  # typed for clients of both kinds; this one is asynchronous
    if isinstance(body, WatchedBody):
        return body
    response.stream = wrapped = WatchedBody(body)
    return wrapped
