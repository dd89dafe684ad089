"""Responses of a simulated service, and what requests ask of it."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Final

import httpx

_CONTENT: Final = b"ok"
_SHORT: Final = httpx.Headers({"content-length": str(len(_CONTENT))})
_ENDLESS: Final = httpx.Headers({"content-length": "1000000"})
_OK: Final = 200


def timeout_of(request: httpx.Request, name: str) -> float:
    """Return the timeout of `request` with this name, in seconds; infinite if it has none."""
    seconds = request.extensions.get("timeout", {}).get(name)
    return math.inf if seconds is None else seconds


def short_response(status: int = _OK, retry_after: int | None = None) -> httpx.Response:
    """Return a response with a short body, which is available at once but not yet read."""
    headers = _SHORT
    if retry_after is not None:
        headers = headers.copy()
        headers["retry-after"] = str(retry_after)
    return httpx.Response(status, headers=headers, stream=_Body())


def endless_response() -> httpx.Response:
    """Return a response whose body arrives at one byte per second, and never ends."""
    return httpx.Response(_OK, headers=_ENDLESS, stream=_EndlessBody())


def cut_response(request: httpx.Request) -> httpx.Response:
    """Return a response whose body breaks off after the first byte."""
    return httpx.Response(_OK, headers=_SHORT, stream=_CutBody(request))


class _Body(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield _CONTENT


class _EndlessBody(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"."
            await asyncio.sleep(1.0)


class _CutBody(httpx.AsyncByteStream):
    def __init__(self, request: httpx.Request) -> None:
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield _CONTENT[:1]
        raise httpx.RemoteProtocolError(
            "peer closed connection without sending complete message body", request=self._request
        )
