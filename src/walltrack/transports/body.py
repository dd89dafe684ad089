"""Response bodies: how long they say they are, and reading one inside the attempt."""

from collections.abc import AsyncIterator
from typing import Any, Final

import anyio
import httpx

from walltrack.core.exceptions import ResponseTooLargeError
from walltrack.core.extensions import WHOLE_BODY
from walltrack.transports.requests import service_of

SMALL_BODY_BYTES: Final = 1024 * 1024
"""A body that says it is no longer than this belongs to the attempt."""

_SWITCHING_PROTOCOLS: Final = 101
_PLAUSIBLE_DIGITS: Final = 15


class ReadBody(httpx.AsyncByteStream):
    """A body that was read already; it comes out in the chunks in which it came in."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


def content_length(response: httpx.Response) -> int | None:
    """How long the body says it is, in bytes; None when it does not say or is not to be believed.

    Transfer-Encoding overrides Content-Length (RFC 9112, section 6.3).
    """
    value = response.headers.get("content-length", "")
    if not value.isdecimal() or "transfer-encoding" in response.headers:
        return None
    return int(value[:_PLAUSIBLE_DIGITS])


def belongs_to_attempt(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether the body is to be read inside the attempt, so that a break in it is retried."""
    if response.is_closed or response.status_code == _SWITCHING_PROTOCOLS:
        return False
    if request.extensions.get(WHOLE_BODY):
        return True
    length = content_length(response)
    return length is not None and length <= SMALL_BODY_BYTES


async def read_inside_attempt(
    request: httpx.Request, response: httpx.Response, max_bytes: int
) -> None:
    """Read the body as it comes over the wire, so that `response` can be read again from memory.

    Nothing else of the response changes: raw bytes, chunks, headers and extensions stay.

    Raises:
        ResponseTooLargeError: The body is longer than `max_bytes`.
    """
    stream: Any = response.stream  # typed for clients of both kinds; this one is asynchronous
    chunks: list[bytes] = []
    left = max_bytes
    try:
        async for chunk in stream:
            chunks.append(chunk)
            left -= len(chunk)
            if left < 0:
                break
    except BaseException:
        with anyio.CancelScope(shield=True):
            await stream.aclose()
        raise
    await stream.aclose()
    if left < 0:
        raise ResponseTooLargeError(service_of(request), max_bytes, request=request)
    response.stream = ReadBody(chunks)
