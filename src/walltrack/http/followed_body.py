"""A body after whose end something is awaited.

Awaits: what follows the body, before its reader goes on.
"""

from collections.abc import Awaitable, Callable

import httpx

from walltrack.http.watched_body import WatchedBody


class FollowedBody(WatchedBody):
    """A `WatchedBody` that awaits a function once, after the body has ended or was closed.

    Args:
        stream: The body; it can be a `WatchedBody`.
        follow: Awaited once, after all `on_end` callbacks.
    """

    def __init__(
        self, stream: httpx.AsyncByteStream, follow: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(stream)
        self._follow: Callable[[], Awaitable[None]] | None = follow

    async def __anext__(self) -> bytes:
        try:
            return await super().__anext__()
        except BaseException:
            await self._go_on()
            raise

    async def read_ahead(self, max_bytes: int) -> bool:
        """Read the body to its end, or until it exceeds `max_bytes`; see `WatchedBody`."""
        try:
            return await super().read_ahead(max_bytes)
        finally:
            await self._go_on()

    async def aclose(self) -> None:
        """Close the body once; closing it early is not an error."""
        try:
            await super().aclose()
        finally:
            await self._go_on()

    async def _go_on(self) -> None:
        follow = self._follow
        if self._has_ended and follow is not None:
            self._follow = None
            await follow()
