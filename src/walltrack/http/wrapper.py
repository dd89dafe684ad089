"""What every transport here has in common: the one inside, and its opening and closing."""

from types import TracebackType
from typing import Self

from walltrack.core import family


class WrappingTransport(family.AsyncBaseTransport):
    """Holds the inner transport, and forwards its opening and closing exactly once.

    Args:
        transport: The inner transport, of any class; None makes an `AsyncHTTPTransport()`.
    """

    def __init__(self, transport: family.Transport | None = None) -> None:
        self._inner = family.default_transport() if transport is None else family.typed(transport)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()
