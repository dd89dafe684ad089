"""Introduce layers to a listener that observes them, and have it observe each call once."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

import httpx

from walltrack.core.observer import Ended, Observer, Readable
from walltrack.telemetry.emit import log_failure

_OBSERVED: Final = "walltrack.observed_by"
"""On a request: the `Observer` that an outer layer has told of this call."""

Send = Callable[[httpx.Request], Awaitable[httpx.Response]]


class ObservedLayer(Readable, Protocol):
    """A layer, as far as it has to be known here."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`."""
        ...


def introduce(layer: ObservedLayer, listener: object) -> None:
    """Introduce `layer` to its listener, if that is an `Observer`.

    The method of this one layer that sends requests is replaced, so that all others, and their
    healthy calls, pay nothing.
    """
    if isinstance(listener, Observer):
        listener.layer_made(layer)
        observe_calls(layer, listener)


def observe_calls(layer: ObservedLayer, listener: object) -> None:
    """Have the calls through `layer` observed, if its listener is an `Observer`."""
    if isinstance(listener, Observer) and "handle_async_request" not in vars(layer):
        send = partial(_observed, layer.handle_async_request, listener)
        setattr(layer, "handle_async_request", send)  # noqa: B010 - of this layer alone


def _observed(send: Send, observer: Observer, request: httpx.Request) -> Awaitable[httpx.Response]:
    if request.extensions.get(_OBSERVED) is observer:  # an outer layer has told it
        return send(request)
    return _observe(send, observer, request)


async def _observe(send: Send, observer: Observer, request: httpx.Request) -> httpx.Response:
    extensions = request.extensions
    extensions[_OBSERVED] = observer
    ended = _begin(observer, request)
    try:
        response = await send(request)
    except BaseException as error:
        _end(ended, error)
        raise
    finally:
        extensions.pop(_OBSERVED, None)  # a redirect is a request of its own
    _end(ended, response)
    return response


def _begin(observer: Observer, request: httpx.Request) -> Ended | None:
    try:
        return observer.call_began(request)
    except Exception as error:  # noqa: BLE001 - an observer must not break the call
        log_failure(error, "call_began")
        return None


def _end(ended: Ended | None, outcome: httpx.Response | BaseException) -> None:
    if ended is not None:
        try:
            ended(outcome)
        except Exception as error:  # noqa: BLE001 - as above
            handled = outcome if isinstance(outcome, BaseException) else None
            log_failure(error, "the end of a call", handled)
