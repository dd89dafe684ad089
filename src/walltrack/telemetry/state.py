"""The state of a stack of layers, as JSON has it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

_TRIES: Final = 10


def steadily(read: Callable[[], _T]) -> _T:
    """Return what `read` returns; call it again if another thread changes what it iterates over.

    Raises:
        RuntimeError: It was so each time.
    """
    for _ in range(_TRIES):
        with suppress(RuntimeError):
            return read()
    return read()


def snapshot(transport: object) -> dict[str, Any]:
    """Return the settings and the state of all layers of a stack, from the outside in.

    The result can be written as JSON, and has no secret unless a `key` of a layer contains one:

        {"layers": [{"layer": "RetryTransport", "settings": {"max_retries": 3, ...}, ...}, ...]}

    Each entry has the class of a layer and its `settings`. Only what is out of the ordinary is
    listed: `breakers` that are not closed or were set manually (`state`, `since`, `shut_for` in
    seconds, `failures`), `budgets` that are not full, `limits` in use with their queues,
    `throttled` keys whose requests wait for a rate, and `rooms` with requests that wait for a
    circuit. A number is None where it is infinite. Call it in the event loop of the transport, or
    for a `SyncTransport` in any thread.

    Args:
        transport: The outermost layer. The walk ends at the first transport that is not one of this
            library.

    Raises:
        TypeError: `transport` is not a transport.
    """
    if not (hasattr(transport, "handle_async_request") or hasattr(transport, "handle_request")):
        raise TypeError(
            "transport must be a transport, such as the one that was given to the client (of a "
            f"BaseAPIClient: client.transport), got a {type(transport).__name__}"
        )
    layers: list[dict[str, Any]] = []
    inner: object = transport
    while inner is not None:
        describe = getattr(inner, "describe", dict)
        state: Any = steadily(describe)
        known = state if isinstance(state, dict) else {}  # not so of a mock that has any method
        following = getattr(inner, "inner", None) if state is known else None
        if known or following is None:  # what has neither only guards the transport inside
            layers.append({"layer": type(inner).__name__, **known})
        inner = following
    return {"layers": layers}
