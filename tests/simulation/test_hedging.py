"""A service with a few very slow responses, and the effect of hedging on it.

100 requests a second arrive at random. An answer takes some 10 ms; one in a hundred takes a second.
Everything of ours is real but time: trio's mock clock jumps to whatever happens next.
"""

import random
from collections import Counter
from typing import Literal

import httpx
import pytest
import trio
import trio.testing

from tests.simulation.test_collapse import END, SLOW_FROM, SLOW_UNTIL, FifoServer, Run
from walltrack import Event, RetryBudget, resilient_transport
from walltrack.hedging.transport import HedgingTransport

ARRIVALS = 100
CALLS = 3000
PATIENCE = 15.0

SLOW = range(10, 18)
"""The seconds in which everything is."""

AFTER = range(20, 30)


class Service(httpx.AsyncBaseTransport):
    """Answers after a random time, however many requests there are at once."""

    def __init__(self, slower: float = 1.0) -> None:
        self.rng = random.Random(5)  # noqa: S311 - a model, no secret
        self.slower = slower
        self.offered = self.straggler = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.offered % 100 == 0:
            self.straggler = self.offered + self.rng.randrange(100)
        seconds = self.rng.lognormvariate(-4.6, 0.3)
        if self.offered == self.straggler:
            seconds = 1.0
        self.offered += 1
        if int(trio.current_time()) in SLOW:
            seconds *= self.slower
        await trio.sleep(min(seconds, PATIENCE))
        if seconds >= PATIENCE:
            raise httpx.ReadTimeout("too slow", request=request)
        return httpx.Response(200)


class Hedges(Counter[int]):
    """A listener that counts by the second."""

    def __call__(self, _: Event, /) -> None:
        self[int(trio.current_time())] += 1

    def during(self, seconds: range) -> int:
        """How many there were in these seconds."""
        return sum(self[second] for second in seconds)


class Calls:
    """One run: how long each call took."""

    def __init__(self, client: httpx.AsyncBaseTransport, rate: float = ARRIVALS) -> None:
        self.client = client
        self.rate = rate
        self.took: list[float] = []
        self.rng = random.Random(11)  # noqa: S311 - as above
        trio.run(self.arrive, clock=trio.testing.MockClock(autojump_threshold=0))

    async def arrive(self) -> None:
        async with trio.open_nursery() as callers:
            for _ in range(CALLS):
                await trio.sleep(self.rng.expovariate(self.rate))
                callers.start_soon(self.call)

    async def call(self) -> None:
        began = trio.current_time()
        try:
            await self.client.handle_async_request(httpx.Request("GET", "https://api.test/"))
        except httpx.TransportError:
            return
        self.took.append(trio.current_time() - began)

    def percentile(self, percent: float) -> float:
        """A percentile of the calls' durations."""
        return sorted(self.took)[int(len(self.took) * percent / 100)]


def hedging(
    service: httpx.AsyncBaseTransport,
    hedges: Hedges,
    delay: float | Literal["p95"] = "p95",
    budget: RetryBudget | None = None,
) -> HedgingTransport:
    """The layer on the clock of the simulation."""
    return HedgingTransport(
        service, delay, budget=budget, clock=trio.current_time, sleep=trio.sleep, listener=hedges
    )


def test_stragglers_are_cut_off_for_a_few_requests_more() -> None:
    """The slowest hundredth takes a tenth of what it did, for at most 6 % more requests."""
    bare = Calls(Service())
    delays: list[float | Literal["p95"]] = ["p95", 0.03]
    for delay in delays:
        service = Service()
        hedged = Calls(hedging(service, hedges := Hedges(), delay))
        assert hedged.percentile(99) <= bare.percentile(99) / 10
        assert hedged.percentile(50) <= bare.percentile(50) * 1.05
        assert len(hedged.took) == CALLS
        assert service.offered == CALLS + hedges.total() <= CALLS * 1.06


def test_the_delay_follows_a_service_that_becomes_slower() -> None:
    """Only calls that are slow compared with all others are hedged, also at the change."""
    hedged = Calls(hedging(Service(10.0), hedges := Hedges()))
    assert hedges[SLOW[0]] <= 0.12 * ARRIVALS
    assert len(hedged.took) == CALLS
    assert 0 < hedges.during(SLOW) <= 0.06 * ARRIVALS * len(SLOW)
    assert hedges.total() <= 0.06 * CALLS


def test_with_a_fixed_delay_next_to_nothing_is_asked_twice_when_everything_is_slow() -> None:
    """Only the initial budget is spent on hedges, since slow answers add nothing to it."""
    hedged = Calls(hedging(Service(10.0), hedges := Hedges(), 0.03))
    assert len(hedged.took) == CALLS
    assert hedges[SLOW[0]] <= 12
    assert hedges.during(SLOW[1:]) == 0
    assert hedges.during(AFTER) > 0


@pytest.mark.parametrize("delay", ["p95", 0.03])
def test_when_nothing_is_answered_nothing_is_asked_twice(delay: float | Literal["p95"]) -> None:
    """Only the initial budget is spent on hedges until the outage is over."""
    Calls(hedging(Service(1e6), hedges := Hedges(), delay))
    assert hedges[SLOW[0]] <= 12
    assert hedges.during(SLOW[1:]) == 0
    assert hedges.during(AFTER) > 0


def test_hedges_do_not_feed_an_overload() -> None:
    """A server that lost its capacity for a while gets no hedges until it has recovered."""
    server = FifoServer()
    run = Run(server, hedging(server, hedges := Hedges()))
    back = next(s for s in range(int(SLOW_UNTIL), END) if run.served[s])
    assert hedges.during(range(int(SLOW_FROM) + 1, back)) == 0
    assert run.share_served(back + 1, END) == 1.0
    assert run.peak < 1.2


class Busy(FifoServer):
    """A healthy server that works off 100 requests a second, each in a random time."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = random.Random(5)  # noqa: S311 - a model, no secret

    async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
        now = trio.current_time()
        self.offered[int(now)] += 1
        self.free_at = max(now, self.free_at) + self.rng.expovariate(100)
        await trio.sleep_until(self.free_at)
        return httpx.Response(200)


def test_a_healthy_server_at_high_load_bears_hedges() -> None:
    """At 80 % load the recommended stack, with hedges, serves every call in time."""
    server = Busy()
    stack = resilient_transport(
        server, hedge="p95", clock=trio.current_time, sleep=trio.sleep, listener=None
    )
    calls = Calls(stack, 80)
    assert len(calls.took) == CALLS
    assert calls.percentile(99.9) < 1.0
    assert server.offered.total() <= CALLS * 1.06
