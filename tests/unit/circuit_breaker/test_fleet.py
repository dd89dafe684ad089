"""Transports that represent processes, and share their circuits through a store in memory."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from tests.fleet.fake_store import FakeStore
from tests.support import Body, Clock, Events, Scripted, get
from walltrack import (
    Backoff,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    CircuitClosed,
    CircuitMode,
    CircuitOpened,
    CircuitState,
    CountWindow,
)
from walltrack.core.shared_state import CircuitReport, CircuitView, SharedCircuitState

pytestmark = pytest.mark.anyio

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

URL = "https://api.test/things"
NAME = "https://api.test"
COOLDOWN = 30.0
REFUSED = "refused"


class Service(httpx.AsyncBaseTransport):
    """A service that all processes call; it counts the requests that reach it."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        self.requests += 1
        return httpx.Response(self.status)


class Held(Service):
    """A service that answers only once `go` is set."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(status)
        self.go = anyio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        await self.go.wait()
        return response


class SlowStore(FakeStore):
    """A store that takes time to answer."""

    async def report(self, name: str, report: CircuitReport, /) -> CircuitView | None:
        await anyio.lowlevel.checkpoint()
        view = await super().report(name, report)
        await anyio.lowlevel.checkpoint()
        return view


class GatedStore(FakeStore):
    """A store that holds back its answers until the gate opens."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.gate = anyio.Event()

    async def report(self, name: str, report: CircuitReport, /) -> CircuitView | None:
        view = await super().report(name, report)
        await self.gate.wait()
        return view


class HangingStore(FakeStore):
    """A store that answers no report while it hangs."""

    def __init__(self, clock: Clock, *, hangs: bool = False) -> None:
        super().__init__(clock)
        self.hangs = hangs

    async def report(self, name: str, report: CircuitReport, /) -> CircuitView | None:
        if self.hangs:
            await anyio.sleep_forever()
        return await super().report(name, report)


@pytest.fixture
def store(clock: Clock) -> FakeStore:
    """The store of the fleet."""
    return FakeStore(clock)


Join = Callable[..., CircuitBreakerTransport]


@pytest.fixture
def join(store: FakeStore, clock: Clock) -> Join:
    """Let another process join the fleet; without a listener it logs nothing."""

    def joining(inner: httpx.AsyncBaseTransport, **options: Any) -> CircuitBreakerTransport:  # noqa: ANN401 - handed on
        given = {"listener": None, "shared": store, "clock": clock, **options}
        return CircuitBreakerTransport(inner, **given)

    return joining


async def ask(transport: CircuitBreakerTransport, url: str = URL) -> int | str:
    """Send one request, and return its status."""
    try:
        response = await transport.handle_async_request(get(url))
    except CircuitBreakerOpenError:
        return REFUSED
    return response.status_code


async def ask_all(fleet: list[CircuitBreakerTransport]) -> list[int | str]:
    """Send one request from each process, one after the other."""
    return [await ask(process) for process in fleet]


async def break_down(fleet: list[CircuitBreakerTransport]) -> None:
    """Let all processes notice that the service is down."""
    await ask_all(fleet)
    await ask_all(fleet)
    assert {state_of(process) for process in fleet} == {OPEN}


async def open_fleet(process: CircuitBreakerTransport) -> None:
    """Let one process open the circuit of the fleet."""
    for _ in range(process.breaker_for(URL).failure_threshold):
        assert await ask(process) == 503


def state_of(process: CircuitBreakerTransport) -> CircuitState:
    """The state that the next request of a process would meet."""
    return process.breaker_for(URL).state


# Opening


async def test_healthy_calls_send_nothing(join: Join, store: FakeStore) -> None:
    """A process asks once for manual settings, and then sends nothing to the store."""
    process = join(Service())
    assert await ask_all([process] * 1000) == [200] * 1000
    assert store.commands == 1


async def test_a_fleet_counts_together(join: Join) -> None:
    """Once five requests of 100 processes have failed, each process sends one more at most.

    It learns by the failure of that one that the circuit is open.
    """
    service = Service(503)
    fleet = [join(service) for _ in range(100)]

    assert await ask_all(fleet) == [503] * 100
    assert await ask_all(fleet) == [*[503] * 4, *[REFUSED] * 96]
    assert await ask_all(fleet) == [REFUSED] * 100

    assert service.requests == 5 + 99


async def test_rejections_send_nothing(join: Join, store: FakeStore) -> None:
    """While a circuit is open, every process rejects requests without asking the store."""
    fleet = [join(Service(503)) for _ in range(6)]
    await break_down(fleet)
    before = store.commands
    assert await ask_all(fleet * 10) == [REFUSED] * 60
    assert store.commands == before


async def test_every_process_tells_of_its_open_circuit(join: Join, clock: Clock) -> None:
    """The event has the failures of the fleet, and the remaining time."""
    await open_fleet(join(Service(503)))
    clock.advance(10.0)
    events = Events()
    await ask(join(Service(503), listener=events))
    assert events == [CircuitOpened("api.test", 5, 20.0)]


async def test_an_isolated_failure_is_forgotten_by_all(join: Join) -> None:
    """A success of the process that failed resets the failure count of the fleet."""
    flaky = [join(Scripted(503, 200)) for _ in range(20)]
    for process in flaky:
        assert [await ask(process), await ask(process)] == [503, 200]
    assert {state_of(process) for process in flaky} == {CLOSED}


async def test_a_body_that_breaks_off_is_reported_before_the_next_request(
    join: Join, store: FakeStore
) -> None:
    """Its end cannot await a report; the process reports it before its next request."""
    broken = [httpx.Response(200, stream=Body(httpx.ReadError("broken"))) for _ in range(5)]
    process = join(Scripted(*broken, 200))
    for _ in range(5):
        response = await process.handle_async_request(get(URL))
        with pytest.raises(httpx.ReadError):
            await response.aread()
    assert await ask(process) == REFUSED
    assert store.circuits[NAME].state is SharedCircuitState.OPEN


async def test_the_end_of_a_body_from_before_is_a_success_too(join: Join, store: FakeStore) -> None:
    """Its end cannot await a report; the next request reports the success."""
    body = httpx.Response(200, stream=Body(b"good"))
    process = join(Scripted(body, 503, 200))
    response = await process.handle_async_request(get(URL))
    assert await ask(process) == 503
    assert store.circuits[NAME].failures == 1
    await response.aread()
    assert await ask(process) == 200
    assert store.circuits[NAME].failures == 0


async def test_a_window_is_counted_by_each_process_and_its_opening_is_shared(
    join: Join, store: FakeStore
) -> None:
    """Each process counts its own rates, but an opening stops the requests of all processes."""
    window = CountWindow(minimum_calls=4)
    first, second = (join(Service(503), window=window) for _ in range(2))
    assert await ask_all([first] * 3) == [503] * 3
    assert store.circuits == {}
    assert await ask_all([first, first]) == [503, REFUSED]
    assert await ask_all([second] * 5) == [503, 503, 503, 503, REFUSED]
    assert store.circuits[NAME].openings == 1


# Probing


async def test_one_process_of_the_fleet_probes(join: Join, clock: Clock) -> None:
    """When the cooldown ends, 1 of 100 requests is sent, and the others are refused."""
    service = Held(503)
    service.go.set()
    fleet = [join(service) for _ in range(100)]
    await break_down(fleet)
    clock.advance(COOLDOWN)
    service.go, service.requests, service.status = anyio.Event(), 0, 200
    answers: list[int | str] = []

    async def probe(process: CircuitBreakerTransport) -> None:
        answers.append(await ask(process))

    async with anyio.create_task_group() as callers:
        for process in fleet:
            callers.start_soon(probe, process)
        await anyio.wait_all_tasks_blocked()
        service.go.set()

    assert service.requests == 1
    assert sorted(map(str, answers)) == ["200", *[REFUSED] * 99]


async def test_denied_processes_ask_again_after_half_a_second(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """They do not ask at each request; the verdict reaches all of them within half a second."""
    service = Service(503)
    fleet = [join(service) for _ in range(10)]
    await break_down(fleet)
    clock.advance(COOLDOWN)
    slow = Held()
    fleet[0]._inner = slow  # noqa: SLF001 - from now on it is slow
    service.status = 200
    async with anyio.create_task_group() as callers:
        callers.start_soon(ask, fleet[0])
        await anyio.wait_all_tasks_blocked()
        assert await ask_all(fleet[1:]) == [REFUSED] * 9
        asked = store.commands
        assert await ask_all(fleet[1:] * 3) == [REFUSED] * 27
        assert store.commands == asked
        clock.advance(0.4)
        slow.go.set()
    assert await ask_all(fleet[1:]) == [REFUSED] * 9
    clock.advance(0.1)
    assert await ask_all(fleet) == [200] * 10
    assert {state_of(process) for process in fleet} == {CLOSED}


async def test_a_bad_probe_keeps_all_circuits_open(join: Join, clock: Clock) -> None:
    """The other processes adopt the longer cooldown, and send nothing until its end."""
    service = Service(503)
    cooldown = Backoff(base=10.0, factor=3.0, cap=100.0)
    fleet = [join(service, cooldown=cooldown) for _ in range(6)]
    await break_down(fleet)
    for seconds in (10.0, 30.0, 90.0, 100.0):
        service.requests = 0
        clock.advance(seconds)
        await ask_all(fleet)
        await ask_all(fleet)
        assert service.requests == 1
    assert {process.breaker_for(URL).current_cooldown for process in fleet} == {100.0}


async def test_a_prober_that_dies_loses_its_lease(join: Join, clock: Clock) -> None:
    """No circuit stays open for longer than its cooldown and one lease."""
    service = Service(503)
    fleet = [join(service) for _ in range(6)]
    await break_down(fleet)
    clock.advance(COOLDOWN)
    fleet[0]._inner = Held()  # noqa: SLF001 - it never answers
    service.status = 200
    async with anyio.create_task_group() as callers:
        callers.start_soon(ask, fleet[0])
        await anyio.wait_all_tasks_blocked()
        clock.advance(COOLDOWN - 0.1)
        assert await ask_all(fleet[1:]) == [REFUSED] * 5
        clock.advance(0.1)
        assert await ask_all(fleet[1:]) == [200] * 5
        callers.cancel_scope.cancel()
    assert state_of(fleet[1]) is CLOSED


async def test_a_cancelled_probe_is_given_back_at_once(join: Join, clock: Clock) -> None:
    """The next process that asks becomes the prober, without waiting for the lease to expire."""
    service = Service(503)
    first, second = (join(service) for _ in range(2))
    await open_fleet(first)
    await ask(second)
    clock.advance(COOLDOWN)
    first._inner = Held()  # noqa: SLF001 - it never answers
    service.status = 200
    async with anyio.create_task_group() as callers:
        callers.start_soon(ask, first)
        await anyio.wait_all_tasks_blocked()
        callers.cancel_scope.cancel()
    assert await ask(second) == 200


async def test_a_probe_succeeds_at_the_end_of_its_body(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """The end of the body closes the circuit of the fleet before its reader continues."""
    process = join(Scripted(503))
    await open_fleet(process)
    clock.advance(COOLDOWN)
    process._inner = Scripted(httpx.Response(200, stream=Body(b"good")))  # noqa: SLF001
    response = await process.handle_async_request(get(URL))
    assert store.circuits[NAME].state is SharedCircuitState.HALF_OPEN
    assert await response.aread() == b"good"
    assert store.circuits[NAME].state is SharedCircuitState.CLOSED


async def test_several_probes_are_sent_by_one_process(join: Join, clock: Clock) -> None:
    """The lease covers all probes."""
    service = Service(503)
    first, second = (join(service, probes=3) for _ in range(2))
    await open_fleet(first)
    await ask(second)
    clock.advance(COOLDOWN)
    service.status = 200
    assert await ask_all([first, second, first, second, first]) == [200, REFUSED, 200, REFUSED, 200]
    clock.advance(0.5)
    assert await ask(second) == 200


# Late results


async def test_a_failure_from_before_the_outage_ended_is_late(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """A process that missed the outage reports a slow failure, which does not count."""
    service, slow = Service(503), Held(503)
    first, other = join(service, failure_threshold=1), join(slow, failure_threshold=1)
    async with anyio.create_task_group() as callers:
        callers.start_soon(ask, other)
        await anyio.wait_all_tasks_blocked()
        await ask(first)
        clock.advance(COOLDOWN)
        service.status = 200
        assert await ask(first) == 200
        slow.go.set()
    assert store.circuits[NAME].state is SharedCircuitState.CLOSED
    assert await ask(first) == 200
    assert state_of(other) is CLOSED


# Manual settings


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_circuit_that_is_forced_open_is_so_in_all_processes(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """Other processes learn of it within `refresh` seconds, also for an origin new to them."""
    fleet = [join(Service()) for _ in range(3)]
    await ask_all(fleet)
    fleet[0].breaker_for(URL).force_open()
    assert await ask(fleet[0]) == REFUSED
    clock.advance(store.refresh)
    assert await ask_all(fleet) == [REFUSED] * 3
    assert await ask(fleet[1], "https://other.test/") == 200

    fleet[1].breaker_for(URL).reset()
    assert await ask(fleet[1]) == 200
    clock.advance(store.refresh)
    assert await ask_all(fleet) == [200] * 3


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_disabled_breaker_is_disabled_everywhere(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """It admits all requests, although they fail."""
    fleet = [join(Service(503)) for _ in range(3)]
    await ask_all(fleet)
    fleet[0].breaker_for(URL).disable()
    await fleet[0].publish()
    clock.advance(store.refresh)
    assert await ask_all(fleet * 5) == [503] * 15
    assert {process.breaker_for(URL).mode for process in fleet} == {CircuitMode.DISABLED}


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_reset_closes_the_circuit_of_all(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """It ends an outage before the end of the cooldown."""
    service = Service(503)
    fleet = [join(service, cooldown=1000.0) for _ in range(3)]
    await open_fleet(fleet[0])
    await ask_all(fleet)
    service.status = 200
    fleet[2].breaker_for(URL).reset()
    assert await ask(fleet[2]) == 200
    assert store.circuits[NAME].state is SharedCircuitState.CLOSED
    clock.advance(store.refresh)
    assert await ask_all(fleet) == [200] * 3


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_timer_lets_the_next_request_look(join: Join, store: FakeStore) -> None:
    """On asyncio, a healthy call reads no clock: a timer makes the next call ask the store."""
    store.refresh = 0.01
    process = join(Service(), clock=asyncio.get_running_loop().time)
    assert await ask_all([process] * 3) == [200] * 3
    assert store.commands == 1
    await anyio.sleep(0.03)
    assert await ask_all([process] * 3) == [200] * 3
    assert store.commands == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_setting_is_kept_for_an_origin_that_was_not_met(
    join: Join, store: FakeStore
) -> None:
    """A request to another origin fetched it, and the first request to this origin is refused."""
    await store.set_mode(NAME, "forced_open")
    process = join(Service())
    assert await ask(process, "https://other.test/") == 200
    assert await ask(process) == REFUSED


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_two_timers_are_one_look(join: Join, clock: Clock, store: FakeStore) -> None:
    """A check caused by a failure sets a second timer while the first one still runs."""
    store.refresh = 0.01
    process = join(Scripted(200, 503, 200), failure_threshold=2)
    await ask_all([process] * 2)
    clock.advance(store.refresh)
    await ask(process)
    assert store.commands == 4  # two checks, a failure and a success
    await anyio.sleep(0.03)
    clock.advance(store.refresh)
    await ask_all([process] * 3)
    assert store.commands == 5


async def test_a_setting_that_could_not_be_sent_is_sent_later(join: Join, store: FakeStore) -> None:
    """While the store is unreachable, the process keeps the setting."""
    process = join(Service())
    await ask(process)
    store.lost = True
    process.breaker_for(URL).force_open()
    assert await ask(process) == REFUSED
    store.lost = False
    assert await ask(process) == REFUSED
    assert store.settings[NAME].mode == "forced_open"


async def test_a_setting_survives_a_cancelled_call(join: Join, clock: Clock) -> None:
    """The call that was to report it is cancelled, and the next one reports it."""
    store = HangingStore(clock)
    process = join(Service(), shared=store)
    await ask(process)
    process.breaker_for(URL).force_open()
    process.breaker_for("https://other.test/").disable()
    store.hangs = True
    with anyio.move_on_after(0.01):
        await ask(process)
    store.hangs = False
    assert await ask(process) == REFUSED
    assert {name: setting.mode for name, setting in store.settings.items()} == {
        NAME: "forced_open",
        "https://other.test": "disabled",
    }


# Event loops


def test_a_process_looks_for_settings_in_another_event_loop(clock: Clock) -> None:
    """The timer of the first loop is dropped with it, and the next request asks the store."""
    store = FakeStore(clock, refresh=3600.0)
    process = CircuitBreakerTransport(Service(), shared=store, clock=clock, listener=None)
    for expected in (200, 200, REFUSED):
        asyncio.run(store.set_mode(NAME, "automatic" if expected == 200 else "forced_open"))
        clock.advance(store.refresh)
        assert asyncio.run(ask(process)) == expected
        gc.collect()  # where objects are not dropped at once


def test_a_task_of_a_closed_event_loop_does_not_keep_the_others(clock: Clock) -> None:
    """Its report was in flight when its event loop stopped, and never ended."""
    store = HangingStore(clock, hangs=True)
    process = CircuitBreakerTransport(Service(503), shared=store, clock=clock, listener=None)
    loop = asyncio.new_event_loop()
    call = loop.create_task(ask(process))
    loop.run_until_complete(asyncio.sleep(0.01))
    store.hangs = False
    with closing(loop):
        assert asyncio.run(ask(process)) == 503
        assert store.circuits[NAME].failures > 0
        call.cancel()
        loop.run_until_complete(asyncio.wait([call]))


# A store that is lost


async def test_without_a_store_each_process_is_by_itself(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """Each process opens by its own failures, and sends its own probe."""
    store.lost = True
    service = Service(503)
    fleet = [join(service) for _ in range(2)]
    for process in fleet:
        await open_fleet(process)
    assert await ask_all(fleet) == [REFUSED] * 2
    clock.advance(COOLDOWN)
    service.status = 200
    assert await ask_all(fleet) == [200] * 2
    assert {state_of(process) for process in fleet} == {CLOSED}


async def test_a_circuit_that_opened_without_the_store_is_probed_with_it(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """When the store is reachable again, one of the processes gets the lease."""
    store.lost = True
    service = Service(503)
    fleet = [join(service) for _ in range(3)]
    for process in fleet:
        await open_fleet(process)
    store.lost = False
    clock.advance(COOLDOWN)
    service.requests = 0
    assert await ask_all(fleet) == [503, REFUSED, REFUSED]
    assert service.requests == 1


async def test_a_store_that_forgot_everything_is_filled_again(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """After a failover without data, the open processes send one probe in all."""
    service = Service(503)
    fleet = [join(service) for _ in range(6)]
    await break_down(fleet)
    store.circuits.clear()
    assert await ask_all(fleet) == [REFUSED] * 6
    clock.advance(COOLDOWN)
    service.status, service.requests = 200, 0
    assert await ask(fleet[0]) == 200
    assert await ask_all(fleet) == [200] * 6


async def test_nonsense_does_not_shut_a_process_for_longer_than_its_own_cooldown(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """The store states a year; the process asks again after its own longest cooldown."""
    process = join(Service(503))
    circuit = store.circuits[NAME]
    circuit.state, circuit.until = SharedCircuitState.OPEN, clock() + 365 * 86400
    assert await ask_all([process, process]) == [503, REFUSED]
    assert process.breaker_for(URL).shut_for() == COOLDOWN


async def test_a_store_that_talks_without_end_does_not_keep_a_call(
    join: Join, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the store answers, a request sends at most four reports before and four after it."""

    async def report(name: str, report: CircuitReport, /) -> CircuitView | None:
        del name, report
        store.commands += 1
        return CircuitView(SharedCircuitState.OPEN, store.commands, 0.0, 1, 1, granted=False)

    monkeypatch.setattr(store, "report", report)
    process = join(Service(503))
    await ask(process)
    before = store.commands
    assert await ask(process) == 503
    assert store.commands - before <= 8


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_asyncio_cancels_leaves_no_response_open(
    join: Join, clock: Clock
) -> None:
    """This holds while its failure is reported, which no scope can shield from `task.cancel()`."""
    body = Body(b"down")
    process = join(
        Scripted(httpx.Response(503, stream=body)), shared=HangingStore(clock, hangs=True)
    )
    call = asyncio.ensure_future(ask(process))
    await anyio.wait_all_tasks_blocked()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert body.closes == 1


# Membership


async def test_a_breaker_of_its_own_is_shared_under_the_name_of_its_service(
    join: Join, store: FakeStore
) -> None:
    """Two processes with one breaker each, for any origins, share one circuit."""
    fleet = [join(Service(503), breaker=CircuitBreaker(service="prices")) for _ in range(2)]
    for process in fleet * 3:
        await ask(process)
    assert await ask_all(fleet) == [REFUSED] * 2
    assert list(store.circuits) == ["service:prices"]


async def test_two_transports_of_a_process_can_share_a_breaker(
    join: Join, store: FakeStore
) -> None:
    """The breaker is one member of the fleet."""
    breaker = CircuitBreaker(service="prices")
    both = [join(Service(503), breaker=breaker) for _ in range(2)]
    assert await ask_all(both) == [503] * 2
    assert store.circuits["service:prices"].failures == 2


async def test_its_manual_settings_are_shared_before_any_request(
    join: Join, store: FakeStore
) -> None:
    """A command that only forces a circuit open reports it with `publish`."""
    breaker = CircuitBreaker(service="prices")
    process = join(Service(), breaker=breaker)
    breaker.force_open()
    await process.publish()
    assert store.settings["service:prices"].mode == "forced_open"


async def test_a_breaker_without_a_name_is_refused(join: Join) -> None:
    """Otherwise processes would share one circuit for different services."""
    with pytest.raises(ValueError, match=r'CircuitBreaker.service="..."'):
        join(Service(), breaker=CircuitBreaker())


async def test_what_is_no_store_is_refused() -> None:
    """For example, a Redis client is not a store."""
    with pytest.raises(TypeError, match="shared must be a"):
        CircuitBreakerTransport(Service(), shared=object())  # type: ignore[arg-type]


async def test_publishing_without_a_store_does_nothing() -> None:
    """A program can call `publish` whatever its configuration is."""
    await CircuitBreakerTransport(Service()).publish()


async def test_failures_at_the_same_time_are_reported_once(join: Join, clock: Clock) -> None:
    """Failures that occur while a report is in flight are reported together by the next one."""
    held, store = Held(503), SlowStore(clock)
    process = join(held, failure_threshold=100, shared=store)
    async with anyio.create_task_group() as callers:
        for _ in range(20):
            callers.start_soon(partial(ask, process))
        await anyio.wait_all_tasks_blocked()
        held.go.set()
    assert store.circuits[NAME].failures == 20
    assert store.commands <= 3  # with the check for manual settings


@pytest.mark.parametrize(("threshold", "state"), [(4, OPEN), (100, CLOSED)])
async def test_what_fails_while_an_answer_is_on_its_way_is_not_lost(
    join: Join, clock: Clock, threshold: int, state: CircuitState
) -> None:
    """Failures during a report are not taken as reported: they are sent, and can open it."""
    store, events, services = GatedStore(clock), Events(), [Held(503) for _ in range(4)]
    process = join(Held(503), failure_threshold=threshold, shared=store, listener=events)
    async with anyio.create_task_group() as callers:
        for service in services:
            process._inner = service  # noqa: SLF001
            callers.start_soon(ask, process)
            await anyio.wait_all_tasks_blocked()
        for service in services:
            service.go.set()
            await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert state_of(process) is state
    assert store.circuits[NAME].failures == 4
    assert "circuit_closed" not in events.names


async def test_an_evicted_breaker_leaves_the_fleet(join: Join, store: FakeStore) -> None:
    """Its successor reports independently."""
    process = join(Scripted(503, 200), max_breakers=1)
    await ask(process)
    await ask(process)
    process.breaker_for("https://other.test/")
    process._inner = Service(503)  # noqa: SLF001
    await ask(process)
    assert store.circuits[NAME].failures == 1


async def test_every_process_tells_when_its_circuit_is_closed(join: Join, clock: Clock) -> None:
    """Each emits the event when it learns of it, even if another process sent the probe."""
    service, events = Service(503), Events()
    fleet = [join(service, failure_threshold=2, listener=heard) for heard in (None, events)]
    await break_down(fleet)
    clock.advance(COOLDOWN)
    service.status = 200
    assert await ask_all(fleet) == [200, 200]
    assert events[-1:] == [CircuitClosed("api.test", previous="open")]
    changes = [name for name in events.names if name.startswith("circuit")]
    assert changes == ["circuit_opened", "circuit_closed"]


async def test_what_the_fleet_never_heard_of_needs_no_report(join: Join, store: FakeStore) -> None:
    """If one body breaks off and another ends well before the next request, nothing has changed."""
    bodies = Body(httpx.ReadError("broken")), Body(b"good")
    process = join(Scripted(*[httpx.Response(200, stream=body) for body in bodies], 200))
    broken, good = [await process.handle_async_request(get(URL)) for _ in bodies]
    with pytest.raises(httpx.ReadError):
        await broken.aread()
    await good.aread()
    assert await ask(process) == 200
    assert store.circuits == {}


async def test_a_cancelled_call_needs_no_report(join: Join, store: FakeStore) -> None:
    """A clean circuit has no member yet."""
    process = join(Held())
    with anyio.move_on_after(0.01):
        await ask(process)
    assert store.circuits == {}


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_an_earlier_setting_does_not_reset_a_new_breaker(
    join: Join, clock: Clock, store: FakeStore
) -> None:
    """Only a setting made while a process has the breaker applies to it."""
    await store.set_mode(NAME, "automatic")
    process = join(Service(503))
    assert await ask_all([process] * 2) == [503] * 2
    assert process.breaker_for(URL).failure_count == 2
    clock.advance(store.refresh)
    assert await ask(process) == 503
    assert process.breaker_for(URL).failure_count == 3


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_an_unknown_mode_is_ignored(join: Join, store: FakeStore) -> None:
    """A newer version of this library may have more modes."""
    await store.set_mode(NAME, "sideways")
    assert await ask(join(Service())) == 200
