"""Response bodies: their announced length, and which of them are read within the attempt."""

from collections.abc import AsyncIterator, Coroutine
from typing import Final, Literal, NamedTuple

import httpx

from walltrack.core import family
from walltrack.core.exceptions import ResponseTooLargeError
from walltrack.core.extensions import RETRY, WHOLE_BODY
from walltrack.core.naming import service_of
from walltrack.http.watched_body import WatchedBody, watched

ReadAhead = Literal["small", "whole", "stream"]
"""Which bodies are read within the attempt."""

SMALL_BODY_BYTES: Final = 64 * 1024
"""A body is small if its Content-Length is at most this."""

SWITCHING: Final = 101
"""Switching protocols: what follows is not a body, and may never end."""

_PLAUSIBLE_DIGITS: Final = 15
_SIZE_OF_LENGTH: Final = len("content-length")
_SIZE_OF_TYPE: Final = len("content-type")


class Framing(NamedTuple):
    """What the headers of a response state about its body.

    Args:
        length: Its Content-Length in bytes; None if it is missing or invalid.
        is_event_stream: Whether it is a `text/event-stream`.
    """

    length: int | None
    is_event_stream: bool


def framing_of(response: httpx.Response) -> Framing:
    """Return what the headers of `response` state about its body."""
    length, is_event_stream = None, False
    for name, value in response.headers.raw:  # one pass: a look-up by name takes one for each name
        size = len(name)
        if size == _SIZE_OF_LENGTH and name.lower() == b"content-length":
            length = _parsed(value)
        elif size == _SIZE_OF_TYPE and name.lower() == b"content-type":
            is_event_stream = value.partition(b";")[0].strip().lower() == b"text/event-stream"
    return Framing(length, is_event_stream)


def content_length(response: httpx.Response) -> int | None:
    """Return the announced length of the body in bytes; None if it is missing or invalid."""
    return framing_of(response).length


def _parsed(length: bytes) -> int | None:
    if not length.isdigit():
        return None
    if len(length) > _PLAUSIBLE_DIGITS:  # Python cannot parse thousands of digits
        length = length.lstrip(b"0")[:_PLAUSIBLE_DIGITS] or b"0"
    return int(length)


def is_part_of_attempt(request: httpx.Request, length: int | None) -> bool:
    """Return whether a body of this length is read within the attempt by default."""
    if request.extensions.get(RETRY) is False:
        return False
    whole = request.extensions.get(WHOLE_BODY)
    is_small = length is not None and length <= SMALL_BODY_BYTES
    return is_small if whole is None else bool(whole)


async def take_body(
    request: httpx.Request, response: httpx.Response, mode: ReadAhead, max_bytes: int
) -> None:
    """Read an open body within the attempt, if `reading_ahead` decides so."""
    if not response.is_closed and (reading := reading_ahead(request, response, mode, max_bytes)):
        await reading


def reading_ahead(
    request: httpx.Request, response: httpx.Response, mode: ReadAhead, max_bytes: int
) -> Coroutine[None, None, object] | None:
    """Return an awaitable that reads an open body within the attempt; None to let it stream.

    If a body that is read within the attempt breaks off, the attempt can be retried. The caller
    then reads the body from memory; nothing else in the response changes.

    1. `walltrack.whole_body` of the request decides first: True means "whole", False "stream".
    2. In mode "small", a body is read if its Content-Length is at most 64 KiB. If it turns out to
       be longer than announced, the rest streams.
    3. In mode "whole", every body is read. If it is longer than `max_bytes`, awaiting raises
       ResponseTooLargeError.
    4. Event streams, switched protocols and requests that are not retried are never read: the
       caller gets each part when it comes. In mode "whole", `max_bytes` applies to them as well.
    """
    whole = request.extensions.get(WHOLE_BODY)
    if whole is None and mode != "small":
        whole = mode == "whole"
    if whole is False or response.status_code == SWITCHING:
        return None
    length, is_event_stream = framing_of(response)
    if not whole and (length is None or length > SMALL_BODY_BYTES):
        return None
    if is_event_stream or request.extensions.get(RETRY) is False:
        if whole:
            response.stream = _CappedBody(watched(response), request, max_bytes)
        return None
    body = watched(response)
    return _read_whole(request, body, max_bytes) if whole else body.read_ahead(SMALL_BODY_BYTES)


async def _read_whole(request: httpx.Request, body: WatchedBody, max_bytes: int) -> None:
    if not await body.read_ahead(max_bytes):
        await body.abandon()
        raise ResponseTooLargeError(service_of(request), max_bytes, request=request)


class _CappedBody(family.AsyncByteStream):
    """Pass a body through, and raise an exception if it is longer than allowed."""

    def __init__(self, body: WatchedBody, request: httpx.Request, max_bytes: int) -> None:
        self._body = body
        self._request = request
        self._max_bytes = max_bytes
        self._left = max_bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        aiter(self._body)
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._body.__anext__()
        self._left -= len(chunk)
        if self._left < 0:
            await self._body.abandon()
            service = service_of(self._request)
            raise ResponseTooLargeError(service, self._max_bytes, request=self._request)
        return chunk

    async def aclose(self) -> None:
        """Close the body."""
        await self._body.aclose()
