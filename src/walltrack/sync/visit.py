"""A client that has a transport open, in the event loop.

Awaits: the inner transport is entered and left.
"""

import contextlib
from collections.abc import Sequence
from types import TracebackType

import anyio
import httpx

from walltrack.core.exceptions import TransportClosedError
from walltrack.sync.call import Call
from walltrack.sync.interfaces import Loop


class Visit(Call):
    """Enter the inner transport, and leave it when the client is closed.

    Both in one task, as in an asynchronous client: a transport may hold a task group open.

    Args:
        loop: The event loop.
        inner: The inner transport.
    """

    def __init__(self, loop: Loop, inner: httpx.AsyncBaseTransport) -> None:
        super().__init__(loop)
        self._inner = inner
        self._why: tuple[object, ...] = (None, None, None)

    async def act(self) -> None:
        """Stay, from entering to leaving."""
        self._leaving = anyio.Event()
        self._gone = anyio.Event()
        try:
            await self._inner.__aenter__()
            self.loop.rest(self)
            self.post(None)
            await self._leaving.wait()
            await self._inner.__aexit__(*self._why)  # type: ignore[arg-type]  # as `leave` has them
        finally:
            self._gone.set()

    async def end_here(self) -> None:
        """Have the transport left, and wait until it is."""
        self._leave()
        await self._gone.wait()

    def leave(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the transport, and wait until that is done."""
        self._why = (exc_type, exc_value, traceback)
        self.loop.soon(self._leave)
        with contextlib.suppress(TransportClosedError):  # the event loop ended before
            self.value_of(self.take())

    def _leave(self) -> None:
        self.loop.resume(self)
        self._leaving.set()


async def close_all(inner: httpx.AsyncBaseTransport, visits: Sequence[Visit]) -> None:
    """Close the inner transport, and leave it wherever it was entered."""
    try:
        await inner.aclose()
    finally:
        for visit in visits:
            await visit.end_here()
