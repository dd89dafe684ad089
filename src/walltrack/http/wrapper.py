"""The base class of all layers, which opens and closes the inner transport."""

from types import TracebackType
from typing import Self

from walltrack.core import family
from walltrack.http.sending import http_transport
from walltrack.http.waits import Waits


class WrappingTransport(family.AsyncBaseTransport):
    """Hold the inner transport, and forward its opening and closing exactly once.

    Closing ends the calls that wait in this layer: they send nothing more, and raise
    TransportClosedError. The layer can be used again afterwards, if the inner transport can.

    Args:
        transport: The inner transport, of any class; None makes an `HTTPTransport()`.

    Raises:
        TypeError: `transport` is not an asynchronous transport.
    """

    def __new__(cls, transport: object = None, *_: object, **__: object) -> Self:
        """Create an object that belongs to the families that the inner transport serves."""
        made: Self = object.__new__(family.serving(cls, transport))
        return made

    def __init__(self, transport: family.Transport | None = None) -> None:
        self._inner = http_transport() if transport is None else family.typed(transport)
        self._waits = Waits()
        self._entered = 0

    def _shown_with(self, *options: str) -> str:
        """Return a repr: the inner transport and `options`, as they could be typed."""
        kind = type(self._inner)
        # The default repr of Python is an address, which is of no use to a reader.
        plain = kind.__repr__ is object.__repr__
        inner = f"{kind.__name__}()" if plain else repr(self._inner)
        return f"{type(self).__name__}({', '.join((inner, *options))})"

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
