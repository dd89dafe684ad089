"""Transports that act as processes, and share one rate through a store in memory."""

from bisect import bisect_left
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import anyio
import httpx
import pytest

from tests.fleet.fake_store import FakeStore
from tests.support import get
from walltrack import RateLimitError, RateLimitTransport
from walltrack.core.classification import Classification
from walltrack.core.shared_state import Pace, TokenLease
from walltrack.rate_limit.leased_bucket import LAPSE, LeasedBucket
from walltrack.testing import VirtualTime

pytestmark = pytest.mark.anyio

URL = "https://api.test/things"
NAME = "https://api.test"


class Service(httpx.AsyncBaseTransport):
    """A service that notes when each request came."""

    def __init__(self, time: VirtualTime, response: httpx.Response | None = None) -> None:
        self.time = time
        self.came: list[float] = []
        self.response = response or httpx.Response(200)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        self.came.append(self.time.monotonic())
        return self.response

    def most_in(self, seconds: float) -> int:
        """The largest number of requests in any period of this length."""
        return max(
            bisect_left(self.came, start + seconds - 1e-9) - at
            for at, start in enumerate(self.came)
        )


class SlowStore(FakeStore):
    """A store with a latency of up to 40 ms in each direction."""

    def __init__(self, time: VirtualTime) -> None:
        super().__init__(time.monotonic)
        self.time = time
        self.rng = Random(1)  # noqa: S311 - a test

    async def lease(
        self, name: str, pace: Pace, wanted: int, patience: float, /
    ) -> TokenLease | None:
        await self.time.sleep(self.rng.uniform(0.0, 0.04))
        lease = await super().lease(name, pace, wanted, patience)
        await self.time.sleep(self.rng.uniform(0.0, 0.04))
        return lease


@pytest.fixture
async def time() -> AsyncIterator[VirtualTime]:
    """Virtual time, which advances when all tasks wait."""
    async with VirtualTime() as virtual:
        yield virtual


@pytest.fixture
def store(time: VirtualTime) -> FakeStore:
    """The store of the fleet."""
    return FakeStore(time.monotonic)


def join(
    inner: httpx.AsyncBaseTransport,
    store: FakeStore,
    time: VirtualTime,
    rate: float = 200.0,
    **options: Any,  # noqa: ANN401 - handed on
) -> RateLimitTransport:
    """Another process of the fleet."""
    given: dict[str, Any] = {
        "clock": time.monotonic,
        "sleep": time.sleep,
        "listener": None,
        "shared": store,
    }
    return RateLimitTransport(inner, rate, **given, **options)


async def saturate(
    process: RateLimitTransport, time: VirtualTime, until: float, callers: int = 20
) -> None:
    """Send requests from several callers, each after the other, until a time."""

    async def call() -> None:
        while time.monotonic() < until:
            try:
                await process.handle_async_request(get(URL))
            except RateLimitError:
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(call)


def together(time: VirtualTime, services: list[Service]) -> Service:
    """What all processes sent."""
    everything = Service(time)
    everything.came = sorted(moment for service in services for moment in service.came)
    return everything


async def test_a_fleet_has_one_rate(store: FakeStore, time: VirtualTime) -> None:
    """Eight processes send 200 requests a second together, evenly and each its share.

    One round trip serves several requests.
    """
    services = [Service(time) for _ in range(8)]
    async with anyio.create_task_group() as tasks:
        for service in services:
            tasks.start_soon(saturate, join(service, store, time), time, 3.0)
    everything = together(time, services)
    in_time = [moment for moment in everything.came if moment < 3.0]
    assert 0.95 * 600 <= len(in_time) <= 601
    assert everything.most_in(0.1) <= 21
    assert everything.most_in(1.0) <= 201
    assert min(len(service.came) for service in services) >= 600 / 8 / 2
    assert store.commands <= len(everything.came) / 5


async def test_a_slow_store_bends_no_bound(time: VirtualTime) -> None:
    """Round trips of up to 80 ms: no period exceeds what is stated, and each has its share."""
    store = SlowStore(time)
    services = [Service(time) for _ in range(8)]
    async with anyio.create_task_group() as tasks:
        for service in services:
            tasks.start_soon(saturate, join(service, store, time), time, 3.0)
    everything = together(time, services)
    for seconds in (0.01, 0.05, 0.1, 0.3, 1.0, 2.0):
        assert everything.most_in(seconds) <= 1 + 200 * (seconds + LAPSE)
    assert len(everything.came) >= 0.95 * 600
    assert min(len(service.came) for service in services) >= 600 / 8 / 2


@pytest.mark.parametrize("lease", [TokenLease(0, -5.0, 0.0), TokenLease(1, 0.0, 9.0)])
async def test_a_store_that_answers_nonsense_is_asked_once_a_second(
    store: FakeStore, time: VirtualTime, lease: TokenLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grants no token for no reason, or one while requests are held back."""

    async def answer(*_: object) -> TokenLease:
        store.commands += 1
        return lease

    monkeypatch.setattr(store, "lease", answer)
    service = Service(time)
    await saturate(join(service, store, time, rate=100.0), time, 2.5)
    assert store.commands == 3
    assert len(service.came) == pytest.approx(250, abs=25)


def test_a_time_that_the_store_rounds_is_no_nonsense() -> None:
    """A caller's patience is not a whole number of microseconds."""
    bucket = LeasedBucket(1.0, 1.0, 1)
    bucket.receive(0.0, 0.0, TokenLease(1, 0.000011, 0.0), 0.0000106)
    assert bucket.take(0.05)
    assert not bucket.take(0.06)


async def test_a_process_alone_gets_the_whole_rate(store: FakeStore, time: VirtualTime) -> None:
    """Processes that send nothing reserve no tokens."""
    service = Service(time)
    await saturate(join(service, store, time), time, 1.0)
    assert len([moment for moment in service.came if moment < 1.0]) == pytest.approx(200, abs=1)


async def test_a_caller_that_finds_a_token_does_not_wait(
    store: FakeStore, time: VirtualTime
) -> None:
    """At a low rate, each request costs one command and no time."""
    service = Service(time)
    process = join(service, store, time, rate=10.0)
    for _ in range(3):
        await process.handle_async_request(get(URL))
        await time.sleep(1.0)
    assert service.came == [0.0, 1.0, 2.0]
    assert store.commands == 3


async def test_callers_of_a_process_are_served_in_order(
    store: FakeStore, time: VirtualTime
) -> None:
    """Also if tokens are leased for several of them."""
    process = join(Service(time), store, time, rate=100.0)
    order: list[int] = []

    async def call(number: int) -> None:
        await process.handle_async_request(get(URL))
        order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(call, number)
            await anyio.lowlevel.checkpoint()
    assert order == list(range(30))


async def test_a_throttled_process_holds_back_all(store: FakeStore, time: VirtualTime) -> None:
    """The others send nothing until the time that the server named to one of them."""
    throttled = join(
        Service(time, httpx.Response(429, headers={"retry-after": "5"})),
        *(store, time),
        rate=10.0,
    )
    service = Service(time)
    other = join(service, store, time, rate=10.0)
    await other.handle_async_request(get(URL))
    await throttled.handle_async_request(get(URL))
    await other.handle_async_request(get(URL))
    assert service.came == pytest.approx([0.0, 5.1])


async def test_the_classifier_holds_back_all_as_well(store: FakeStore, time: VirtualTime) -> None:
    """What it decides takes precedence over the headers."""

    def classify(_: object) -> Classification:
        return Classification(retry_after=7.0)

    await join(Service(time), store, time, classify=classify).handle_async_request(get(URL))
    service = Service(time)
    await join(service, store, time).handle_async_request(get(URL))
    assert service.came == pytest.approx([7.0], abs=0.01)


async def test_callers_that_cannot_wait_are_rejected_when_the_fleet_is_held_back(
    store: FakeStore, time: VirtualTime
) -> None:
    """They are rejected at once, and the error has the remaining time."""
    await store.hold_back(NAME, 50.0)
    process = join(Service(time), store, time, max_wait=10.0)
    with pytest.raises(RateLimitError) as rejected:
        await process.handle_async_request(get(URL))
    assert rejected.value.retry_after == pytest.approx(50.0, abs=0.1)
    assert time.monotonic() == 0.0


async def test_a_caller_that_cannot_wait_for_the_fleet_is_rejected(
    store: FakeStore, time: VirtualTime
) -> None:
    """It takes no token, and the next ones are rejected without asking the store again."""
    await store.lease(NAME, Pace(1.0, 1), 100, 1e9)
    process = join(Service(time), store, time, rate=1.0, wait=False)
    before = store.commands
    for _ in range(5):
        with pytest.raises(RateLimitError) as rejected:
            await process.handle_async_request(get(URL))
        assert rejected.value.retry_after == pytest.approx(100.0)
    assert store.commands == before + 1


async def test_a_cancelled_caller_leaves_its_token_to_the_next(
    store: FakeStore, time: VirtualTime
) -> None:
    """The tokens of a lease belong to the process."""
    service = Service(time)
    process = join(service, store, time, rate=100.0)
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(process.handle_async_request, get(URL))
        await time.sleep(0.035)
        tasks.cancel_scope.cancel()
    await process.handle_async_request(get(URL))
    assert len(service.came) == 5
    assert service.came[-1] <= 0.045
    assert store.commands == 3  # for the first, the second and all others


async def test_without_a_store_each_process_has_the_rate_for_itself(
    store: FakeStore, time: VirtualTime
) -> None:
    """When the store is back, the rate is shared again within a second."""
    service = Service(time)
    fleet = [join(service, store, time) for _ in range(2)]
    store.lost = True
    async with anyio.create_task_group() as tasks:
        for process in fleet:
            tasks.start_soon(saturate, process, time, 4.0)
        await time.sleep(1.0)
        store.lost = False
        assert len(service.came) == pytest.approx(400, abs=5)
        await time.sleep(1.0)
        before = len(service.came)
        await time.sleep(1.0)
        assert len(service.came) - before == pytest.approx(200, abs=10)


async def test_each_origin_has_its_own_rate(store: FakeStore, time: VirtualTime) -> None:
    """The store keeps one rate for the name of each key."""
    process = join(Service(time), store, time)
    await process.handle_async_request(get(URL))
    await process.handle_async_request(get("http://other.test:8080/"))
    assert set(store.rates) == {NAME, "http://other.test:8080"}


async def test_only_a_rate_can_be_shared(store: FakeStore) -> None:
    """Without one, no request would learn what servers announced to other processes."""
    with pytest.raises(ValueError, match="shared needs a rate"):
        RateLimitTransport(httpx.MockTransport(lambda _: httpx.Response(200)), shared=store)


async def test_what_is_no_store_is_refused() -> None:
    """A client of Redis is not a store."""
    with pytest.raises(TypeError, match="shared must be a"):
        RateLimitTransport(None, 5.0, shared=object())  # type: ignore[arg-type]


async def test_it_moves_to_another_event_loop(store: FakeStore, time: VirtualTime) -> None:
    """In the other event loop, the line has the same name and the same bucket."""
    process = join(Service(time), store, time)
    await process.handle_async_request(get(URL))
    (line,) = process._lines._kept.values()  # noqa: SLF001
    renewed = line.renewed()
    assert renewed.bucket is line.bucket
    assert getattr(renewed, "name", None) == NAME
