"""Response bodies: how long they say they are, and reading one inside the attempt."""

from collections.abc import Coroutine
from typing import Final

import httpx

from walltrack.core.exceptions import ResponseTooLargeError
from walltrack.core.extensions import WHOLE_BODY
from walltrack.core.naming import service_of
from walltrack.http.watched_body import WatchedBody, watched

SMALL_BODY_BYTES: Final = 1024 * 1024
"""A body that says it is no longer than this belongs to the attempt."""

_SWITCHING: Final = 101  # protocols: what follows is no body, and has no end
_PLAUSIBLE_DIGITS: Final = 15


def content_length(response: httpx.Response) -> int | None:
    """How long the body says it is, in bytes; None when it does not say, or nothing sensible."""
    try:
        value = response.headers["content-length"]  # `get` would cost a call more
    except KeyError:
        return None
    if not value.isdecimal():
        return None
    if len(value) > _PLAUSIBLE_DIGITS:  # Python refuses to read thousands of digits
        value = value.lstrip("0")[:_PLAUSIBLE_DIGITS] or "0"
    return int(value)


async def take_body(request: httpx.Request, response: httpx.Response, max_bytes: int) -> None:
    """Read the body inside the attempt, if it is open and belongs there: see `reading_ahead`."""
    if not response.is_closed and (reading := reading_ahead(request, response, max_bytes)):
        await reading


def reading_ahead(
    request: httpx.Request, response: httpx.Response, max_bytes: int
) -> Coroutine[None, None, object] | None:
    """What reads an open body inside the attempt, to be awaited; None if it does not belong there.

    1. One that follows a switch of protocols is none, and has no end.
    2. One that the caller wants whole belongs there, and must not be longer than `max_bytes`.
    3. So does one that says that it is small; one that turns out longer than it said streams on.

    A break in it is retried then. It can be read again from memory; nothing else of the response
    changes. Awaiting it raises ResponseTooLargeError in case 2.
    """
    whole = request.extensions.get(WHOLE_BODY)
    if response.status_code == _SWITCHING or not (whole or _is_small(response)):
        return None
    body = watched(response)
    return _read_whole(request, body, max_bytes) if whole else body.read_ahead(SMALL_BODY_BYTES)


async def _read_whole(request: httpx.Request, body: WatchedBody, max_bytes: int) -> None:
    if not await body.read_ahead(max_bytes):
        await body.abandon()
        raise ResponseTooLargeError(service_of(request), max_bytes, request=request)


def _is_small(response: httpx.Response) -> bool:
    length = content_length(response)
    return length is not None and length <= SMALL_BODY_BYTES
