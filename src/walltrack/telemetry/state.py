"""The state of a stack of layers, as JSON has it."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class _Layer(Protocol):
    """A layer, as far as it has to be known here."""

    @property
    def inner(self) -> object:
        """The inner transport."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return its settings and its state."""
        ...


def snapshot(transport: object) -> dict[str, Any]:
    """Return the settings and the state of all layers of a stack, from the outside in.

    The result can be written as JSON, and has no secret unless a `key` of a layer contains one:

        {"layers": [{"layer": "RetryTransport", "settings": {"max_retries": 3, ...}, ...}, ...]}

    Each entry has the class of a layer and its `settings`. Only what is out of the ordinary is
    listed: `breakers` that are not closed or were set manually (`state`, `since`, `shut_for` in
    seconds, `failures`), `budgets` that are not full, `limits` in use with their queues,
    `throttled` keys whose requests wait for a rate, and `rooms` with requests that wait for a
    circuit. A number is None where it is infinite. Call it
    in the event loop of the transport.

    Args:
        transport: The outermost layer. The walk ends at the first transport that is not a layer.
    """
    layers: list[dict[str, Any]] = []
    inner = transport
    while isinstance(inner, _Layer):
        layers.append({"layer": type(inner).__name__, **inner.describe()})
        inner = inner.inner
    return {"layers": [*layers, {"layer": type(inner).__name__}]}
