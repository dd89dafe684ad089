"""Response bodies: how long they say they are, and reading one inside the attempt."""

from typing import Any, Final

import httpx

from walltrack.core.exceptions import ResponseTooLargeError
from walltrack.core.extensions import WHOLE_BODY
from walltrack.core.naming import service_of
from walltrack.transports.watched_body import WatchedBody

SMALL_BODY_BYTES: Final = 1024 * 1024
"""A body that says it is no longer than this belongs to the attempt."""

_SWITCHING: Final = 101  # protocols: what follows is no body, and has no end
_PLAUSIBLE_DIGITS: Final = 15


def content_length(response: httpx.Response) -> int | None:
    """How long the body says it is, in bytes; None when it does not say, or nothing sensible."""
    value = response.headers.get("content-length")
    if value is None or not value.isdecimal():
        return None
    return int(value.lstrip("0")[:_PLAUSIBLE_DIGITS] or "0")


def belongs_to_attempt(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether an open body is to be read inside the attempt, so that a break in it is retried."""
    if response.status_code == _SWITCHING:
        return False
    length = content_length(response)
    if length is not None and length <= SMALL_BODY_BYTES:
        return True
    return bool(request.extensions.get(WHOLE_BODY))


async def take_body(request: httpx.Request, response: httpx.Response, max_bytes: int) -> None:
    """Read the body inside the attempt, if it is open and belongs there.

    It can be read again from memory then; nothing else of the response changes. One that turns out
    longer than it said streams on.

    Raises:
        ResponseTooLargeError: The caller wants the whole of it, and it is longer than `max_bytes`.
    """
    if response.is_closed or not belongs_to_attempt(request, response):
        return
    body: Any = response.stream  # typed for clients of both kinds; this one is asynchronous
    if not isinstance(body, WatchedBody):
        response.stream = body = WatchedBody(body)
    whole = request.extensions.get(WHOLE_BODY)
    ended = await body.read_ahead(max_bytes if whole else SMALL_BODY_BYTES)
    if whole and not ended:
        await body.abandon()
        raise ResponseTooLargeError(service_of(request), max_bytes, request=request)
