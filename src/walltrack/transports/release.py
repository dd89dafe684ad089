"""Let go of a response that nobody will read, so that its connection serves again."""

import contextlib
from typing import Final

import anyio
import httpx

MAX_DRAIN_BYTES: Final = 64 * 1024
"""A body longer than this costs more to read than a new connection does."""

MAX_DRAIN_SECONDS: Final = 0.25
"""A body that has not ended by then is not worth waiting for."""


async def release(response: httpx.Response, *, max_seconds: float = MAX_DRAIN_SECONDS) -> None:
    """Read what is left of the body when it is short and quick, then close the response.

    A connection whose body was read to its end is reused; one that is closed before is lost. What
    goes wrong while reading is of no interest any more. Cancelling stops the reading, never the
    closing.

    Args:
        response: The response to discard.
        max_seconds: How long to go on reading.
    """
    try:
        if not response.is_closed and _may_be_short(response):
            with anyio.move_on_after(max_seconds):
                await _drain(response)
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()


def _may_be_short(response: httpx.Response) -> bool:
    length = response.headers.get("content-length", "0")
    return not (length.isdecimal() and int(length) > MAX_DRAIN_BYTES)


async def _drain(response: httpx.Response) -> None:
    left = MAX_DRAIN_BYTES
    with contextlib.suppress(httpx.TransportError):
        async for chunk in response.aiter_raw():
            left -= len(chunk)
            if left < 0:
                return
