"""The base class of all layers, which opens and closes the inner transport."""

from typing import Self

from walltrack.core import family
from walltrack.http.forwarding import ForwardingTransport, shown
from walltrack.http.given_pool import guarded_pool
from walltrack.http.sending import http_transport


class WrappingTransport(ForwardingTransport):
    """Hold the inner transport, and forward its opening and closing exactly once.

    Closing ends the calls that wait in this layer: they send nothing more, and raise
    TransportClosedError. The layer can be used again afterwards, if the inner transport can.

    Args:
        transport: The inner transport, of any class; None makes an `HTTPTransport()`.

    Raises:
        TypeError: `transport` is not an asynchronous transport.
    """

    # With a docstring, tools would show this signature instead of that of `__init__`.
    def __new__(cls, transport: object = None, *_: object, **__: object) -> Self:  # noqa: D102
        # An object that belongs to the families that the inner transport serves.
        made: Self = object.__new__(family.serving(cls, transport))
        return made

    def __init__(self, transport: family.Transport | None = None) -> None:
        super().__init__(http_transport() if transport is None else guarded_pool(transport))

    def _shown_with(self, *options: str) -> str:
        """Return a repr: the inner transport and `options`, as they could be typed."""
        return f"{type(self).__name__}({', '.join((shown(self._inner), *options))})"
