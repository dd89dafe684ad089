"""Clients of either family over both layers and a real pool, whose retries do not really wait."""

import gc
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import httpx

from tests.support import Events
from walltrack import Backoff, BaseAPIClient, CircuitBreaker, CircuitBreakerTransport, RetryPolicy
from walltrack import RetryTransport as Retry

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the usual one loads certificates for 20 ms

AT_ONCE = RetryPolicy(backoff=Backoff(base=0.0), non_idempotent="keyed")


def impatient(family: ModuleType = httpx, read: float = 0.05) -> httpx.Timeout:
    """A short read timeout for servers that stop sending; other steps may take long."""
    timeout: httpx.Timeout = family.Timeout(5.0, read=read)
    return timeout


def often(family: ModuleType, times: int) -> int:
    """`times` for httpx, and a tenth for httpx2: one family shows the effect of many times."""
    return times if family is httpx else times // 10


def shorten_collections() -> None:
    """Keep what exists by now out of the garbage collector's way, until the tests end.

    It would stop every thread for longer than the shortest timeouts are.
    """
    gc.collect()
    gc.freeze()


def pool(
    max_connections: int | None = 1, *, family: ModuleType = httpx
) -> httpx.AsyncHTTPTransport:
    """Connections over real sockets, by default a single one; None: without a limit."""
    limits = family.Limits(max_connections=max_connections)
    transport: httpx.AsyncHTTPTransport = family.AsyncHTTPTransport(verify=_NO_TLS, limits=limits)
    return transport


@asynccontextmanager
async def layered(
    transport: httpx.AsyncBaseTransport | None = None,
    *,
    family: ModuleType = httpx,
    breaker: CircuitBreaker | None = None,
    events: Events | None = None,
    timeout: float | httpx.Timeout = 5.0,  # noqa: ASYNC109 - httpx's, not of a block of code
    **options: Any,  # noqa: ANN401 - handed on to RetryTransport and AsyncClient
) -> AsyncIterator[httpx.AsyncClient]:
    """A client over retry, over a breaker, over `transport`."""
    retry = {k: options.pop(k) for k in ("max_response_bytes", "sleep") if k in options}
    guarded = CircuitBreakerTransport(
        transport or pool(family=family), breaker=breaker, listener=None
    )
    policy = RetryPolicy(non_idempotent="keyed") if "sleep" in retry else AT_ONCE
    top = Retry(guarded, policy=policy, listener=events, **retry)
    async with family.AsyncClient(transport=top, timeout=timeout, **options) as client:
        yield client


def api(
    url: str,
    *,
    timeout: float = 5.0,
    **options: Any,  # noqa: ANN401 - handed on
) -> BaseAPIClient:
    """A client for one API, over a single connection."""
    return BaseAPIClient(
        url, timeout=timeout, retry=AT_ONCE, listener=None, transport=pool(), **options
    )


async def still_serves(client: httpx.AsyncClient | BaseAPIClient, url: str) -> bool:
    """Whether the client's only connection is free for another request."""
    with anyio.fail_after(5):
        return (await client.get(url)).status_code == 200
