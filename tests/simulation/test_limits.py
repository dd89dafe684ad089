"""A server whose capacity changes, and whether an adaptive limit finds the capacity.

The server works on a fixed number of requests at a time, 0.1 seconds on each, give or take a fifth;
the others wait in it, in the order in which they came. Everything of ours is real but time: the
mock clock of trio jumps to whatever happens next.
"""

import random
import statistics
from collections import defaultdict

import httpx
import pytest
import trio
import trio.testing

from walltrack import AdaptiveLimit, ConcurrencyLimitTransport

WORK = 0.1  # seconds for a request that does not have to wait


class Server(httpx.AsyncBaseTransport):
    """A server with a queue; one that `sheds` answers 503 at once to what it cannot work on.

    One that is `flaky` answers 503 to a share of all requests, whatever its load.
    """

    def __init__(
        self, capacity: int, *, sheds: bool = False, flaky: float = 0.0, work: float = WORK
    ) -> None:
        self.places = trio.CapacityLimiter(capacity)
        self.sheds = sheds
        self.flaky = flaky
        self.work = work
        self.rng = random.Random(7)  # noqa: S311 - the same run every time

    async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
        if self.sheds and self.places.borrowed_tokens >= self.places.total_tokens:
            await trio.sleep(self.work / 10)
            return httpx.Response(503)
        async with self.places:
            await trio.sleep(self.work * self.rng.uniform(0.8, 1.2))
        return httpx.Response(503 if self.rng.random() < self.flaky else 200)


class Run:
    """One run: for each second, the limits, the answers, and how long the server took for them."""

    def __init__(self, server: Server, callers: int, *, limit: AdaptiveLimit | None = None) -> None:
        self.server = server
        self.limit = limit or AdaptiveLimit()
        self.limits: dict[int, list[int]] = defaultdict(list)
        self.latencies: dict[int, list[float]] = defaultdict(list)
        self.callers = callers
        self.changes: list[tuple[float, int, float]] = []

    def then(self, at: float, *, capacity: int, work: float = WORK) -> "Run":
        """Change the server at a moment."""
        self.changes.append((at, capacity, work))
        return self

    def until(self, end: float) -> "Run":
        """Run until `end`, in seconds."""
        trio.run(self._run, end, clock=trio.testing.MockClock(autojump_threshold=0))
        return self

    async def _run(self, end: float) -> None:
        limited = ConcurrencyLimitTransport(
            _Watched(self), self.limit, clock=trio.current_time, listener=None
        )

        async def call() -> None:
            while True:
                await limited.handle_async_request(httpx.Request("GET", "https://api.test/"))

        with trio.move_on_at(end):
            async with trio.open_nursery() as tasks:
                for _ in range(self.callers):
                    tasks.start_soon(call)
                for at, capacity, work in self.changes:
                    await trio.sleep_until(at)
                    self.server.places.total_tokens = capacity
                    self.server.work = work

    def limit_within(self, since: int, until: int) -> tuple[int, int]:
        """The lowest and the highest limit in these seconds."""
        limits = [limit for second in range(since, until) for limit in self.limits[second]]
        return min(limits), max(limits)

    def answers_per_second(self, since: int, until: int) -> float:
        """How many good answers came in a second, on average."""
        return sum(len(self.latencies[s]) for s in range(since, until)) / (until - since)

    def latency(self, since: int, until: int) -> float:
        """How long the server took for half of the answers in these seconds, at most."""
        return statistics.median(t for s in range(since, until) for t in self.latencies[s])


class _Watched(httpx.AsyncBaseTransport):
    """Notes what goes through the limit, second by second."""

    def __init__(self, run: Run) -> None:
        self.run = run

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        began = trio.current_time()
        response = await self.run.server.handle_async_request(request)
        now = trio.current_time()
        self.run.limits[int(now)].append(self.run.limit.limit)
        if response.status_code == 200:
            self.run.latencies[int(now)].append(now - began)
        return response


def test_the_limit_follows_the_capacity_down_and_up_again() -> None:
    """It settles between the capacity and twice that, and the server is never without work."""
    run = Run(Server(20), callers=100).then(6, capacity=5).then(12, capacity=20).until(18)

    for since, until, capacity in ((3, 6, 20), (9, 12, 5), (15, 18, 20)):
        lowest, highest = run.limit_within(since, until)
        assert capacity <= lowest <= highest <= 2 * capacity
        assert run.answers_per_second(since, until) >= 0.95 * capacity / WORK
        assert run.latency(since, until) <= 2 * WORK


def test_without_a_limit_everybody_waits_in_the_server() -> None:
    """A fixed limit that is too high serves no more requests, but five times as late."""
    run = Run(Server(20), callers=100, limit=AdaptiveLimit(100, minimum=100)).until(6)

    assert run.answers_per_second(3, 6) == pytest.approx(20 / WORK, rel=0.05)
    assert run.latency(3, 6) >= 4.5 * WORK


def test_a_server_that_sheds_load_is_followed_by_its_refusals() -> None:
    """Its latency does not show the load, but its 503 responses do; few places stay empty."""
    server = Server(20, sheds=True)
    run = Run(server, callers=100).then(6, capacity=5).then(12, capacity=20).until(18)

    for since, until, capacity in ((3, 6, 20), (9, 12, 5), (15, 18, 20)):
        lowest, highest = run.limit_within(since, until)
        assert 0.5 * capacity <= lowest <= highest <= 2 * capacity
        assert run.answers_per_second(since, until) >= 0.85 * capacity / WORK


@pytest.mark.parametrize("callers", [20, 120])
def test_failures_that_are_not_of_overload_cost_nothing(callers: int) -> None:
    """A server that fails a share of requests at any load gets as many as without a limit."""
    bare, *dropping = (
        Run(Server(1000, flaky=share, work=WORK / 2), callers=callers).until(4)
        for share in (0.0, 0.001, 0.05)
    )
    for share, flaky in zip((0.001, 0.05), dropping, strict=True):
        good = (1 - share) * bare.answers_per_second(1, 4)
        assert flaky.answers_per_second(1, 4) >= 0.97 * good
        assert flaky.limit_within(2, 4)[0] >= 20


def test_a_flaky_server_is_followed_by_its_latency() -> None:
    """The share that it drops at any load hides neither its capacity nor a change of it."""
    server = Server(20, flaky=0.05)
    run = Run(server, callers=100).then(6, capacity=5).then(12, capacity=20).until(18)

    for since, until, capacity in ((3, 6, 20), (9, 12, 5), (15, 18, 20)):
        lowest, highest = run.limit_within(since, until)
        assert capacity <= lowest <= highest <= 2 * capacity
        assert run.answers_per_second(since, until) >= 0.9 * capacity / WORK


def test_a_service_that_became_slower_gets_its_limit_back() -> None:
    """Work that takes three times as long looks like a queue, until it is measured again."""
    limit = AdaptiveLimit(memory=10)
    run = Run(Server(20), callers=100, limit=limit).then(4, capacity=20, work=3 * WORK).until(24)

    assert run.limit_within(8, 10)[1] < 20
    lowest, highest = run.limit_within(20, 24)
    assert 20 <= lowest <= highest <= 40


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    """Three callers do not show how many the server could handle."""
    run = Run(Server(20), callers=3).until(6)

    assert run.limit_within(2, 6) == (20, 20)


def test_a_start_far_too_high_is_corrected() -> None:
    """The limit comes down even if the server was never measured without load."""
    run = Run(Server(5), callers=100, limit=AdaptiveLimit(100, memory=10)).until(30)

    assert run.limit_within(8, 10)[1] <= 15
    assert run.limit_within(24, 30)[1] <= 10
    assert run.answers_per_second(24, 30) >= 0.9 * 5 / WORK


def test_a_new_look_at_the_latency_costs_little() -> None:
    """Twice a minute fewer requests are sent for a moment, which costs about one percent."""
    run = Run(Server(8), callers=50).until(36)

    assert run.limit_within(28, 36)[0] < 5
    assert run.answers_per_second(4, 36) >= 0.97 * 8 / WORK
