"""An overload that is over, and whether the clients let the server come back from it.

A server works off 100 requests a second in the order in which they came, whether or not anybody
still waits for the answer. 80 a second arrive. For 10 seconds it manages only 20. Clients give an
attempt 1 second and retry 3 times. Everything of ours is real but time: trio's mock clock jumps to
whatever happens next.
"""

import math
from collections import Counter

import httpx
import pytest
import trio
import trio.testing

from walltrack import CircuitBreakerTransport, RetryBudget, RetryTransport

ARRIVALS, CAPACITY, SLOWED = 80, 100.0, 20.0  # requests per second
SLOW_FROM, SLOW_UNTIL, END = 10.0, 20.0, 60
PATIENCE = 1.0


class FifoServer(httpx.AsyncBaseTransport):
    """A server with one queue, as seen through a client's timeout."""

    def __init__(self) -> None:
        self.free_at = 0.0
        self.offered: Counter[int] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        now = trio.current_time()
        self.offered[int(now)] += 1
        self.free_at = work_done(max(now, self.free_at))
        wait = self.free_at - now
        await trio.sleep(min(wait, PATIENCE))
        if wait > PATIENCE:
            raise httpx.ReadTimeout("too slow", request=request)
        return httpx.Response(200)


def work_done(start: float) -> float:
    """When a request that is begun at `start` is finished."""
    left, now = 1.0, start
    for until, rate in ((SLOW_FROM, CAPACITY), (SLOW_UNTIL, SLOWED), (math.inf, CAPACITY)):
        if now < until:
            done = now + left / rate
            if done <= until:
                return done
            left, now = left - (until - now) * rate, until
    raise AssertionError("time has no end")


class Run:
    """One run: by the second in which calls began, how many did, and how many were served."""

    def __init__(self, server: FifoServer, client: httpx.AsyncBaseTransport) -> None:
        self.server = server
        self.client = client
        self.began: Counter[int] = Counter()
        self.served: Counter[int] = Counter()
        trio.run(self.arrive, clock=trio.testing.MockClock(autojump_threshold=0))

    async def arrive(self) -> None:
        async with trio.open_nursery() as callers:
            for number in range(END * ARRIVALS):
                await trio.sleep_until(number / ARRIVALS)
                callers.start_soon(self.call, number // ARRIVALS)

    async def call(self, second: int) -> None:
        self.began[second] += 1
        try:
            await self.client.handle_async_request(httpx.Request("GET", "https://api.test/"))
        except httpx.TransportError:
            return
        self.served[second] += 1

    def share_served(self, since: float, until: float) -> float:
        """Which share of the calls that began in the worst of these seconds was served."""
        return min(self.served[s] / self.began[s] for s in range(int(since), int(until)))

    @property
    def peak(self) -> float:
        """The most that was asked of the server in a second, in multiples of the arrivals."""
        return max(self.server.offered.values()) / ARRIVALS


def standard(server: FifoServer, cooldown: float) -> RetryTransport:
    """Retry with a budget over a breaker."""
    breaker = CircuitBreakerTransport(
        server, cooldown_seconds=cooldown, clock=trio.current_time, listener=None
    )
    return RetryTransport(breaker, budget=RetryBudget(), listener=None)


def test_naive_retries_keep_the_outage_alive() -> None:
    """Retries alone send more than the server can handle, so it never recovers."""
    server = FifoServer()
    run = Run(server, RetryTransport(server, budget=None, listener=None))
    assert run.share_served(0, SLOW_FROM) == 1.0
    assert sum(run.served[s] for s in range(int(SLOW_FROM) + 2, END)) == 0
    assert run.peak == 4.0


def test_the_standard_stack_lets_the_server_come_back() -> None:
    """With a cooldown of 5 seconds it serves all calls from 4 seconds after the slowdown."""
    server = FifoServer()
    run = Run(server, standard(server, cooldown=5.0))
    assert run.share_served(SLOW_UNTIL + 4, END) == 1.0
    assert run.peak < 1.5


@pytest.mark.parametrize("cooldown", [15.0, 30.0])
def test_recovery_takes_no_longer_than_the_cooldown_that_began_last(cooldown: float) -> None:
    """The next probe shows that the slowdown is over, and then all calls are served."""
    server = FifoServer()
    run = Run(server, standard(server, cooldown))
    assert run.share_served(SLOW_UNTIL + cooldown + 2, END) == 1.0
    assert run.peak < 1.5


def test_a_budget_alone_bounds_the_damage() -> None:
    """Without a breaker, an empty budget still ends the retries, and the queue drains."""
    server = FifoServer()
    run = Run(server, RetryTransport(server, budget=RetryBudget(), listener=None))
    assert run.share_served(END - 5, END) == 1.0
    assert run.peak < 2.0
