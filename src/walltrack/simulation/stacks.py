"""Stacks to compare others with."""

import asyncio
from typing import Final

import httpx

from walltrack.stack import resilient_transport

_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


def bare(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Return httpx alone."""
    return inner


def naive(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Return a simple retry loop, as often written by users: 3 retries, after 1, 2 and 4 s."""
    return NaiveRetry(inner)


def recommended(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Return the recommended stack, with its defaults."""
    return resilient_transport(inner, listener=None)


class NaiveRetry(httpx.AsyncBaseTransport):
    """Retry every failure, without jitter, budget or circuit breaker.

    Args:
        inner: What sends the requests.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, up to 4 times."""
        for delay in (1.0, 2.0, 4.0):
            try:
                response = await self._inner.handle_async_request(request)
            except httpx.TransportError:
                pass
            else:
                status = response.status_code
                if status < _SERVER_ERROR and status != _TOO_MANY:
                    return response
                await response.aclose()
            await asyncio.sleep(delay)
        return await self._inner.handle_async_request(request)


STANDARD_STACKS: Final = {
    "bare httpx": bare,
    "naive retry loop": naive,
    "resilient_transport()": recommended,
}
"""The stacks, by their names in tables."""
