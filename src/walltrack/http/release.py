"""Let go of a response that nobody will read, so that its connection serves again."""

import contextlib
from typing import Any, Final

import anyio
import httpx

from walltrack.http.body import content_length

MAX_DRAIN_BYTES: Final = 64 * 1024
"""A body longer than this costs more to read than a new connection does."""

MAX_DRAIN_SECONDS: Final = 0.25
"""A body that has not ended by then is not worth waiting for."""


async def release(
    request: httpx.Request, response: httpx.Response, *, max_seconds: float = MAX_DRAIN_SECONDS
) -> None:
    """Read what is left of the body when it is short and quick, then close the response.

    A connection whose body was read to its end is reused; one that is closed before is lost. What
    goes wrong is of no interest any more. Cancelling stops the reading, never the closing.

    Args:
        request: What `response` is the answer to.
        response: The response to discard.
        max_seconds: How long to go on reading.
    """
    if response.is_closed:
        return
    try:
        if _may_be_short(request, response):
            await _drain(response, max_seconds)
    finally:
        await discard(response)


async def discard(response: httpx.Response) -> None:
    """Close a response that no caller gets, whatever goes wrong in closing.

    A cancellation does not stop it.
    """
    with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
        await response.aclose()


def _may_be_short(request: httpx.Request, response: httpx.Response) -> bool:
    length = 0 if request.method == "HEAD" else content_length(response)
    return length is None or length <= MAX_DRAIN_BYTES


async def _drain(response: httpx.Response, max_seconds: float) -> None:
    left = MAX_DRAIN_BYTES
    body: Any = response.stream  # not by aiter_raw, which would close it too, and not shielded
    with anyio.move_on_after(max_seconds) as scope, contextlib.suppress(Exception):
        async for chunk in body:
            left -= len(chunk)
            if left < -MAX_DRAIN_BYTES:  # a body that never waits hears of no cancellation
                return
            if left < 0:
                # Not by leaving the loop: iterators that are dropped half-way finish only when they
                # are collected, one that is cancelled finishes here.
                scope.cancel()
