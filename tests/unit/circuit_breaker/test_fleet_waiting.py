"""Waiting rooms around circuits that several processes share, in virtual time."""

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from tests.fleet.fake_store import FakeStore
from tests.support import get
from walltrack import CircuitBreakerTransport, resilient_transport
from walltrack.circuit_breaker.member import ASK_AGAIN
from walltrack.testing import VirtualTime

pytestmark = pytest.mark.anyio

URL = "https://api.test/things"
COOLDOWN = 5.0
CALLERS = 10


class Service(httpx.AsyncBaseTransport):
    """A service that is down at first; each answer takes the time of two requests to the store."""

    def __init__(self, time: VirtualTime) -> None:
        self.time = time
        self.is_down = True
        self.takes = 1.2
        self.came: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.came.append(self.time.monotonic())
        if self.is_down:
            raise httpx.ConnectError("down", request=request)
        await self.time.sleep(self.takes)
        return httpx.Response(200)


@pytest.fixture
async def time() -> AsyncIterator[VirtualTime]:
    """Time that advances only when all tasks wait."""
    async with VirtualTime() as virtual:
        yield virtual


def join(service: Service, store: FakeStore, time: VirtualTime) -> httpx.AsyncBaseTransport:
    """Another process of the fleet, whose callers wait for the circuit."""
    return resilient_transport(
        service,
        retry=None,
        attempt_timeout=None,
        clock=time.monotonic,
        sleep=time.sleep,
        timer=time.move_on_after,
        listener=None,
        shared=store,
        breaker=lambda inner: CircuitBreakerTransport(
            inner,
            failure_threshold=1,
            cooldown=COOLDOWN,
            shared=store,
            clock=time.monotonic,
            listener=None,
        ),
        waiting_room=20.0,
    )


async def test_waiters_of_all_processes_go_soon_after_one_probe(time: VirtualTime) -> None:
    """One process probes; the others ask twice a second, and continue when it succeeds."""
    service, store = Service(time), FakeStore(time.monotonic)
    fleet = [join(service, store, time) for _ in range(3)]
    served: list[float] = []

    async def call(process: httpx.AsyncBaseTransport) -> None:
        response = await process.handle_async_request(
            get(URL, extensions={"timeout": {"pool": None}})
        )
        assert response.status_code == 200
        served.append(time.monotonic())

    for process in fleet:
        with pytest.raises(httpx.ConnectError):
            await process.handle_async_request(get(URL))
    service.is_down = False
    before, store.commands = len(service.came), 0
    async with anyio.create_task_group() as tasks:
        for process in fleet:
            for _ in range(CALLERS):
                tasks.start_soon(call, process)
        await time.sleep(COOLDOWN + service.takes - 0.01)
        assert len(service.came) - before == 1
        assert store.commands <= 3 + 2 * int(service.takes / ASK_AGAIN)
        await time.sleep(ASK_AGAIN + 0.02)
        assert len(service.came) - before >= len(fleet)
    assert len(served) == len(fleet) * CALLERS
    assert max(served) <= COOLDOWN + 6 * service.takes
    assert store.commands <= 20


@pytest.mark.parametrize("processes", [1, 8])
async def test_a_service_slower_than_the_cooldown_is_found_well(
    time: VirtualTime, processes: int
) -> None:
    """By the standard stack, whose first cooldown is a second: answers take 1.5 s after an outage.

    While probes had one second, each lost its place before its answer came, and no circuit closed.
    """
    service, store = Service(time), FakeStore(time.monotonic)
    service.takes = 1.5
    fleet = [
        resilient_transport(
            service,
            retry=None,
            clock=time.monotonic,
            sleep=time.sleep,
            timer=time.move_on_after,
            listener=None,
            shared=store,
        )
        for _ in range(processes)
    ]
    for process in fleet:
        for _ in range(5):
            with pytest.raises(httpx.TransportError):
                await process.handle_async_request(get(URL, extensions={"timeout": {"pool": 0.0}}))
    service.is_down = False
    served: list[int] = []

    async def call(process: httpx.AsyncBaseTransport) -> None:
        response = await process.handle_async_request(
            get(URL, extensions={"timeout": {"pool": None}})
        )
        served.append(response.status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(40):
            for process in fleet:
                tasks.start_soon(call, process)
            await time.sleep(0.5)
    assert served == [200] * 40 * processes
