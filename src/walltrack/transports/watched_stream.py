"""A response body that tells once how it ended."""

from collections.abc import AsyncIterator, Callable

import httpx


class WatchedStream(httpx.AsyncByteStream):
    """Passes a body through untouched, and tells once how it ended.

    Args:
        stream: The body.
        on_end: Called once: with None when the body came to its end or the reader closed it, with
            the exception when reading it raised one.
    """

    def __init__(
        self, stream: httpx.AsyncByteStream, on_end: Callable[[BaseException | None], None]
    ) -> None:
        self._stream = stream
        self._on_end: Callable[[BaseException | None], None] | None = on_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except GeneratorExit:  # the reader went away; a cancellation or the closing will tell
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)

    async def aclose(self) -> None:
        """Close the body; a reader that closes it early has had what it wanted."""
        try:
            self._end(None)
        finally:
            await self._stream.aclose()

    def _end(self, error: BaseException | None) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(error)
