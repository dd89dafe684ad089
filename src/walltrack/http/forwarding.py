"""The opening and closing of a transport around another one."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import httpx

from walltrack.core import family
from walltrack.core.observer import Reading
from walltrack.http.waits import Waits


class ForwardingTransport(family.AsyncBaseTransport):
    """Forward the opening and closing of a transport to its inner transport, exactly once.

    Closing ends the calls that wait in this transport. It can be used again afterwards, if the
    inner transport can.

    Args:
        inner: The inner transport.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self._waits = Waits()
        self._entered = 0

    @property
    def inner(self) -> httpx.AsyncBaseTransport:
        """The inner transport."""
        return self._inner

    def describe(self) -> dict[str, Any]:
        """Return the settings and the state of this layer, as JSON has them; see `snapshot`."""
        return {}

    def readings(self) -> Iterable[Reading]:
        """Return the numbers of its state now, also from another thread."""
        return ()

    async def __aenter__(self) -> Self:
        family.notice()  # the client is open, so its family is imported
        await self._inner.__aenter__()
        self._entered += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._entered -= 1
        if self._entered <= 0:  # the last client that shares it
            self._end_waits()
        await self._inner.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """End the calls that wait in this layer, and close the inner transport."""
        self._end_waits()
        await self._inner.aclose()

    def _end_waits(self) -> None:
        waits, self._waits = self._waits, Waits()
        waits.end()


def shown(transport: httpx.AsyncBaseTransport) -> str:
    """Return the repr of a transport, as it could be typed."""
    kind = type(transport)
    # The default repr of Python is an address, which is of no use to a reader.
    return f"{kind.__name__}()" if kind.__repr__ is object.__repr__ else repr(transport)
