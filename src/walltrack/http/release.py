"""Release a response that is not returned to the caller, so that its connection can be reused.

Awaits: bodies are drained and closed here.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio
import httpx

from walltrack.http.body import content_length
from walltrack.http.watched_body import WatchedBody, watched

Result = TypeVar("Result")

MAX_DRAIN_BYTES: Final = 64 * 1024
"""Reading a longer body would cost more than a new connection."""

MAX_DRAIN_SECONDS: Final = 0.25
"""Waiting longer for the end of a body would cost more than a new connection."""


async def discard(response: httpx.Response | None) -> None:
    """Close a response that is not returned to the caller, even if cancelled; ignore exceptions."""
    if response is not None and not response.is_closed:
        with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
            await response.aclose()


async def guarded(
    response: httpx.Response, function: Callable[..., Result], *arguments: object
) -> Result:
    """Return what a function returns after a response has arrived; if it raises, close that.

    The functions that a layer calls then can raise: the caller's key, clock or listener, or an
    interrupt. The exception propagates, and no connection stays open.
    """
    try:
        return function(*arguments)
    except BaseException:
        await discard(response)
        raise


async def awaited(response: httpx.Response, work: Awaitable[Result]) -> Result:
    """Return what is awaited after a response has arrived; if it raises, close that.

    It can raise a cancellation by asyncio itself, which the scopes of anyio do not shield from.
    """
    try:
        return await work
    except BaseException:
        await discard(response)
        raise


async def release(
    request: httpx.Request, response: httpx.Response, *, max_seconds: float = MAX_DRAIN_SECONDS
) -> None:
    """Read what is left of the body if it is short and quick, then close the response.

    A connection can be reused only if the body was read to its end. Exceptions are ignored. A
    cancellation stops the reading, but not the closing.

    Args:
        request: The request that `response` answers.
        response: The response to discard.
        max_seconds: How long to read, in seconds.
    """
    if response.is_closed:
        return
    try:
        if _may_be_short(request, response):
            await _drain(watched(response), max_seconds)
    finally:
        await discard(response)


def _may_be_short(request: httpx.Request, response: httpx.Response) -> bool:
    length = 0 if request.method == "HEAD" else content_length(response)
    return length is None or length <= MAX_DRAIN_BYTES


async def _drain(body: WatchedBody, max_seconds: float) -> None:
    with anyio.move_on_after(max_seconds), contextlib.suppress(Exception):
        if not await body.read_ahead(MAX_DRAIN_BYTES):
            await body.abandon()
