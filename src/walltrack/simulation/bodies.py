"""Bodies of simulated responses, as they come over a connection."""

import asyncio
from collections.abc import AsyncIterator

import httpx

CONTENT = b"ok"


class Body(httpx.AsyncByteStream):
    """A short body that is there at once."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield CONTENT


class EndlessBody(httpx.AsyncByteStream):
    """A body that arrives at a byte a second and never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"."
            await asyncio.sleep(1.0)


class CutBody(httpx.AsyncByteStream):
    """A body whose connection breaks off after the first byte.

    Args:
        request: What it answers.
    """

    def __init__(self, request: httpx.Request) -> None:
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield CONTENT[:1]
        raise httpx.RemoteProtocolError(
            "peer closed connection without sending complete message body", request=self._request
        )
