"""A listener that observes more than events: whole calls, and the state of layers."""

from collections.abc import Callable, Hashable, Iterable
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import httpx

from walltrack.core.events import Event

Measure = Literal["circuit_state", "queue_waiting", "budget_balance"]


class Reading(NamedTuple):
    """One number of the state of a layer.

    Args:
        measure: What it is: of a circuit 0 if closed, 1 if half-open and 2 if open; how many
            requests wait; or how many retries a budget allows.
        key: What it belongs to, such as an origin; None if it is for all requests.
        value: The number.
        name: Name of the service, for a circuit; name of the kind of queue, for a queue.
    """

    measure: Measure
    key: Hashable
    value: float
    name: str = ""


class Readable(Protocol):
    """A layer whose state can be read, also from another thread."""

    def readings(self) -> Iterable[Reading]:
        """Return the numbers of its state now."""
        ...


Ended = Callable[[httpx.Response | BaseException], object]
"""Called with the response or the exception of a call."""


@runtime_checkable
class Observer(Protocol):
    """A listener that also observes whole calls, and the state of the layers that it is given to.

    A layer whose listener has these methods calls them; for all other listeners this costs nothing.
    """

    def __call__(self, event: Event, /) -> None:
        """Handle `event`."""
        ...

    def layer_made(self, layer: Readable) -> None:
        """Note that `layer` has this listener; keep no strong reference to it."""
        ...

    def call_began(self, request: httpx.Request) -> Ended:
        """Note that a call begins, at the outermost layer with this listener.

        Returns:
            A function that is called when the call has ended, with its response or exception.
        """
        ...
