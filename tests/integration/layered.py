"""Clients over both layers and a real pool, that do not wait in earnest."""

import gc
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import httpx

from tests.support import Events
from walltrack import Backoff, BaseAPIClient, CircuitBreaker, CircuitBreakerTransport, RetryPolicy
from walltrack import RetryTransport as Retry

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the usual one loads certificates for 20 ms

AT_ONCE = RetryPolicy(backoff=Backoff(base=0.0))

IMPATIENT = httpx.Timeout(5.0, read=0.05)
"""For servers that fall silent; whatever else is slow, such as connecting, may take its time."""


@contextmanager
def short_collections() -> Iterator[None]:
    """Keep what exists by now out of the garbage collector's way.

    It would stop every thread for longer than the shortest timeouts are.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def pool(max_connections: int = 1) -> httpx.AsyncHTTPTransport:
    """Connections over real sockets, by default a single one."""
    limits = httpx.Limits(max_connections=max_connections)
    return httpx.AsyncHTTPTransport(verify=_NO_TLS, limits=limits)


@asynccontextmanager
async def layered(
    transport: httpx.AsyncBaseTransport | None = None,
    *,
    breaker: CircuitBreaker | None = None,
    events: Events | None = None,
    timeout: float | httpx.Timeout = 5.0,  # noqa: ASYNC109 - httpx's, not of a block of code
    **options: Any,  # noqa: ANN401 - handed on to RetryTransport and AsyncClient
) -> AsyncIterator[httpx.AsyncClient]:
    """An httpx client over retry, over a breaker, over `transport`."""
    retry = {k: options.pop(k) for k in ("max_response_bytes", "sleep") if k in options}
    guarded = CircuitBreakerTransport(transport or pool(), breaker=breaker, listener=None)
    policy = RetryPolicy() if "sleep" in retry else AT_ONCE
    top = Retry(guarded, policy=policy, listener=events, **retry)
    async with httpx.AsyncClient(transport=top, timeout=timeout, **options) as client:
        yield client


def api(
    url: str,
    *,
    timeout: float = 5.0,
    **options: Any,  # noqa: ANN401 - handed on
) -> BaseAPIClient:
    """A client for one API, over a single connection."""
    return BaseAPIClient(
        url, timeout=timeout, policy=AT_ONCE, listener=None, transport=pool(), **options
    )


async def still_serves(client: httpx.AsyncClient | BaseAPIClient, url: str) -> bool:
    """Whether the client's only connection is free for another request."""
    with anyio.fail_after(5):
        return (await client.get(url)).status_code == 200
