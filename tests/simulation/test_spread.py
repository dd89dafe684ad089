"""A hundred callers that were all asked to wait until the same moment, and when they come back.

Everything of ours is real but time: trio's mock clock jumps to whatever happens next.
"""

import random

import httpx
import pytest
import trio
import trio.testing

from walltrack import Backoff, RateLimitTransport, RetryPolicy, RetryTransport
from walltrack.core.backoff import Jitter

CALLERS = 100
ASKED = 5
WINDOW = 0.01
"""Seconds in which few are to come back."""

MOST = 20


class Server(httpx.AsyncBaseTransport):
    """Refuses each caller once, with the same Retry-After, and notes when it comes back."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.returns: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if request.url.path in self.refused:
            self.returns.append(trio.current_time())
            return httpx.Response(200)
        self.refused.add(request.url.path)
        return httpx.Response(429, headers={"Retry-After": str(ASKED)})


def returns_of(jitter: Jitter, *, limited: bool) -> list[float]:
    """When each caller came back, in order, in seconds since all were refused.

    Args:
        jitter: The jitter of their backoff.
        limited: Whether they share a `RateLimitTransport`, which holds all of them back.
    """
    server = Server()

    async def call_all() -> None:
        inner: httpx.AsyncBaseTransport = server
        if limited:
            inner = RateLimitTransport(
                server, 1000.0, burst=CALLERS, clock=trio.current_time, listener=None
            )
        transport = RetryTransport(
            inner,
            policy=RetryPolicy(backoff=Backoff(jitter=jitter)),
            rng=random.Random(3),  # noqa: S311 - spreads waits, guards nothing
            listener=None,
        )
        async with trio.open_nursery() as callers:
            for number in range(CALLERS):
                request = httpx.Request("GET", f"https://api.test/{number}")
                callers.start_soon(transport.handle_async_request, request)

    trio.run(call_all, clock=trio.testing.MockClock(autojump_threshold=0))
    return server.returns


def most_at_once(returns: list[float]) -> int:
    """How many of them come back within the window that begins with one of them, at most."""
    return max(sum(0.0 <= other - first < WINDOW for other in returns) for first in returns)


@pytest.mark.parametrize("limited", [False, True], ids=["direct", "through a rate limit"])
@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated"])
def test_jitter_spreads_callers_that_were_asked_to_wait_until_the_same_moment(
    jitter: Jitter, *, limited: bool
) -> None:
    """Over one backoff after that moment, and none comes earlier."""
    returns = returns_of(jitter, limited=limited)
    assert len(returns) == CALLERS
    assert ASKED <= returns[0] <= returns[-1] <= ASKED + 1.05
    assert most_at_once(returns) <= MOST


@pytest.mark.parametrize("limited", [False, True], ids=["direct", "through a rate limit"])
def test_without_jitter_the_wait_is_exact(*, limited: bool) -> None:
    """Each caller comes back when it was asked to, and so all at once."""
    returns = returns_of("none", limited=limited)
    assert returns == pytest.approx([ASKED] * CALLERS)
