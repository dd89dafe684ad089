"""What is measured: ways to put resilience beneath an httpx client, ours and the peers'."""

from collections.abc import Callable, Coroutine
from typing import Any, cast

import httpx
import httpx_retries
import hyx.circuitbreaker
import hyx.retry
import purgatory
import stamina
import tenacity
from interlock.integrations.httpx import AsyncCircuitBreakerTransport

from walltrack import (
    Backoff,
    CircuitBreakerTransport,
    ConcurrencyLimitTransport,
    CountWindow,
    HedgingTransport,
    RateLimitTransport,
    RetryPolicy,
    RetryTransport,
    TimeoutTransport,
    resilient_transport,
)

Factory = Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]
Handler = Callable[[httpx.Request], Coroutine[Any, Any, httpx.Response]]

RETRIED = (httpx.TransportError,)
AT_ONCE = RetryPolicy(backoff=Backoff(base=0.0))


class Around(httpx.AsyncBaseTransport):
    """A transport made of a handler, for libraries that wrap functions."""

    def __init__(self, handler: Handler) -> None:
        setattr(self, "handle_async_request", handler)  # noqa: B010 - no frame in between


def bare(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Nothing at all: what everything is measured against."""
    return inner


def walltrack(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Both layers."""
    return RetryTransport(
        CircuitBreakerTransport(inner, listener=None), policy=AT_ONCE, listener=None
    )


def standard_stack(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """What `resilient_transport()` makes by default."""
    return cast("httpx.AsyncBaseTransport", resilient_transport(inner, listener=None))


def walltrack_on_the_alert(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Both layers, while some other origin has failures counted."""
    breaker = CircuitBreakerTransport(inner, listener=None)
    breaker.breaker_for("https://another.test/").record_failure()
    return RetryTransport(breaker, policy=AT_ONCE, listener=None)


LAYERS: dict[str, Factory] = {
    "RetryTransport": lambda inner: RetryTransport(inner, listener=None),
    "CircuitBreakerTransport": lambda inner: CircuitBreakerTransport(inner, listener=None),
    "... with a CountWindow": lambda inner: CircuitBreakerTransport(
        inner, window=CountWindow(), listener=None
    ),
    "RateLimitTransport": lambda inner: RateLimitTransport(inner, rate=1e9, listener=None),
    "ConcurrencyLimitTransport": lambda inner: ConcurrencyLimitTransport(
        inner, limit=100, listener=None
    ),
    "... adaptive": lambda inner: ConcurrencyLimitTransport(inner, limit="adaptive", listener=None),
    "HedgingTransport, by the p95": lambda inner: HedgingTransport(inner, listener=None),
    "HedgingTransport, after 1 s": lambda inner: HedgingTransport(inner, delay=1.0, listener=None),
    "TimeoutTransport": lambda inner: TimeoutTransport(inner, 30.0),
}
"""Each layer by itself."""


def retries(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """The transport of httpx-retries."""
    policy = httpx_retries.Retry(total=3, backoff_factor=0.0)
    transport: httpx.AsyncBaseTransport = httpx_retries.RetryTransport(inner, policy)
    return transport


def breaker_of_purgatory(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """A breaker of purgatory for each host."""
    factory = purgatory.AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=30)

    async def handle(request: httpx.Request) -> httpx.Response:
        async with await factory.get_breaker(request.url.host):
            return await inner.handle_async_request(request)

    return Around(handle)


def both_of_hyx(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Hyx's retry around its breaker."""
    breaker = hyx.circuitbreaker.consecutive_breaker(exceptions=RETRIED, failure_threshold=5)

    async def handle(request: httpx.Request) -> httpx.Response:
        async with breaker:
            return await inner.handle_async_request(request)

    return Around(hyx.retry.retry(on=RETRIED, attempts=3, backoff=0)(handle))


def by_stamina(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Stamina's retry context."""

    async def handle(request: httpx.Request) -> httpx.Response:
        async for attempt in stamina.retry_context(on=httpx.TransportError, attempts=4):
            with attempt:
                response = await inner.handle_async_request(request)
        return response

    return Around(handle)


def by_tenacity(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Tenacity's retrying loop."""

    async def handle(request: httpx.Request) -> httpx.Response:
        async for attempt in tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(4),
            retry=tenacity.retry_if_exception_type(RETRIED),
            reraise=True,
        ):
            with attempt:
                response = await inner.handle_async_request(request)
        return response

    return Around(handle)


OURS: dict[str, Factory] = {
    "walltrack": walltrack,
    "resilient_transport()": standard_stack,
    "walltrack, on the alert": walltrack_on_the_alert,
}
REFERENCE = "httpx-retries"
PEERS: dict[str, Factory] = {
    REFERENCE: retries,
    "purgatory": breaker_of_purgatory,
    "httpx-retries + purgatory": lambda inner: retries(breaker_of_purgatory(inner)),
    "interlock-cb": AsyncCircuitBreakerTransport,
    "httpx-retries + interlock-cb": lambda inner: retries(AsyncCircuitBreakerTransport(inner)),
    "hyx": both_of_hyx,
    "stamina": by_stamina,
    "tenacity": by_tenacity,
}
