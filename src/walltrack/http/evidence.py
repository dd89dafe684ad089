"""Evidence of whether an attempt was sent, beyond the class of its exception."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from walltrack.core.delivery import Delivery
from walltrack.core.extensions import DELIVERY, SHARED_CALL, TRACE
from walltrack.core.outcome import delivery_of, may_have_acted

Trace = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class SendTrace:
    """A trace of httpcore's steps that records whether sending the request has begun.

    Args:
        method: The request's method. The CONNECT request to a proxy is traced as well, and must not
            be taken for this one.
        chained: The caller's own trace, which is called as well.
    """

    def __init__(self, method: str, chained: Trace | None) -> None:
        self._asks_proxy_itself = method == "CONNECT"
        self._chained = chained
        self._seen = False
        self._sending = False
        self.stream_id: int | None = None
        """The HTTP/2 stream of the request, once it has one."""

    async def __call__(self, name: str, info: Mapping[str, Any]) -> None:
        """Record a step."""
        self._seen = True
        if name.endswith("send_request_headers.started"):
            own = info["request"].method != b"CONNECT" or self._asks_proxy_itself
            self._sending = self._sending or own
            self.stream_id = info.get("stream_id", self.stream_id)
        if self._chained is not None:
            await self._chained(name, info)

    @property
    def began_to_send(self) -> bool | None:
        """Whether sending the request has begun; None if nothing was traced."""
        return self._sending if self._seen else None

    def forget(self) -> None:
        """Reset the trace for the next attempt."""
        self._seen = self._sending = False
        self.stream_id = None


def delivery_after(request: httpx.Request, error: Exception) -> Delivery:
    """Return whether the server can have acted on an attempt that ended with `error`.

    The result is "not sent" only if there is evidence. The first of these decides:

    1. The inner transport stated it: `request.extensions["walltrack.delivery"]`, a `Delivery`. A
       mock, or a transport that does not use httpcore, can use this to state what it knows.
    2. The request was traced, and the trace shows whether sending it has begun.
    3. The exception comes from httpcore, whose exception classes are reliable, or from this
       library.
    """
    stated = request.extensions.pop(DELIVERY, None)
    if isinstance(stated, Delivery):
        return stated
    trace = request.extensions.get(TRACE)
    if not isinstance(trace, SendTrace):
        return delivery_of(error)
    return delivery_of(error, began_to_send=trace.began_to_send, stream_id=trace.stream_id)


def note_repeated(request: httpx.Request, delivery: Delivery, status: int | None) -> None:
    """Note for outer layers that a request is sent again after an attempt that ended so.

    They see only the last attempt: what that one proves, it does not prove of this one.
    """
    shared = request.extensions.get(SHARED_CALL)
    if shared is not None and may_have_acted(delivery, status):
        shared.may_have_acted = True
