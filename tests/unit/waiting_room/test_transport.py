"""The waiting room around a circuit breaker, and inside a retry, in virtual time."""

import copy
import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.support import URL, Body, Clock, Events, Failing, Scripted, get, without_gc
from walltrack import (
    Backoff,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    Event,
    RejectReason,
    RequestAdmitted,
    RequestRejected,
    RequestWaiting,
    RetryPolicy,
    RetryTransport,
    TransportClosedError,
    WaitingRoomTransport,
)
from walltrack.core.exceptions import WaitingRoomTimeoutError
from walltrack.testing import VirtualTime

pytestmark = pytest.mark.anyio

HERE = "https://api.test/things"
ELSEWHERE = "https://other.test/things"
COOLDOWN = 5.0
OURS = ("deadline", "retry", "whole_body")


@dataclass
class Service(httpx.AsyncBaseTransport):
    """A service that is down or up, takes some time, and records its requests."""

    time: VirtualTime
    down: bool = True
    seconds: float = 0.1
    status: int = 200
    body: Callable[[], httpx.AsyncByteStream] | None = None
    asked: list[tuple[float, str]] = field(default_factory=list)
    in_flight: int = 0
    most: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = request.headers.get("x-name", "")
        self.asked.append((self.time.monotonic(), name))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await self.time.sleep(self.seconds)
        finally:
            self.in_flight -= 1
        if self.down:
            raise httpx.ConnectError("down", request=request)
        return httpx.Response(self.status, stream=self.body() if self.body else None)

    @property
    def names(self) -> list[str]:
        """The names of the calls, in the order in which they were served."""
        return [name for _, name in self.asked]


@dataclass
class World:
    """A waiting room over a circuit breaker over a service; the circuit opens at one failure."""

    time: VirtualTime
    service: Service
    room: WaitingRoomTransport
    events: Events
    outcomes: dict[str, tuple[float, Any]] = field(default_factory=dict)

    async def call(self, name: str, url: str = HERE, **extensions: Any) -> None:  # noqa: ANN401 - handed on
        """Make a call, and note when and how it ends."""
        keys = {"timeout": "timeout", **{key: f"walltrack.{key}" for key in OURS}}
        extensions = {keys[key]: value for key, value in extensions.items()}
        request = get(url, headers={"x-name": name}, extensions=extensions)
        try:
            response = await self.room.handle_async_request(request)
            await response.aread()
            await response.aclose()
            outcome: Any = response.status_code
        except httpx.TransportError as error:
            outcome = error
        self.outcomes[name] = self.time.monotonic(), outcome

    async def open_circuit(self, url: str = HERE) -> None:
        """Have a call fail, which opens the circuit."""
        await self.call("opener", url)

    def served_at(self, name: str) -> float:
        """When a call that was served ended."""
        at, outcome = self.outcomes[name]
        assert outcome == 200
        return at

    def statuses(self) -> Counter[Any]:
        """How many calls ended how."""
        return Counter(o if isinstance(o, int) else type(o) for _, o in self.outcomes.values())

    def error(self, name: str) -> CircuitBreakerOpenError:
        """The rejection of a call."""
        error = self.outcomes[name][1]
        assert isinstance(error, CircuitBreakerOpenError)
        return error


def reason_of(event: Event) -> RejectReason:
    """Why a request was rejected."""
    assert isinstance(event, RequestRejected)
    return event.reason


@asynccontextmanager
async def world(
    *,
    cooldown: float | Backoff = COOLDOWN,
    probes: int = 1,
    **options: Any,  # noqa: ANN401 - handed on
) -> AsyncIterator[World]:
    """A world in virtual time."""
    async with VirtualTime() as time:
        service, events = Service(time), Events()
        breaker = CircuitBreakerTransport(
            service,
            failure_threshold=1,
            cooldown=cooldown,
            probes=probes,
            clock=time.monotonic,
            listener=None,
        )
        defaults = {
            "clock": time.monotonic,
            "timer": time.move_on_after,
            "listener": events,
        }
        room = WaitingRoomTransport(breaker, **{**defaults, **options})
        yield World(time, service, room, events)
        assert room_of(room) == 0, "rooms end with their last caller"


def room_of(transport: WaitingRoomTransport) -> int:
    """How many rooms there are."""
    return len(vars(transport)["_rooms"])


async def test_a_caller_waits_for_the_cooldown_and_becomes_the_probe() -> None:
    """It is not rejected, but sent when the cooldown ends."""
    async with world() as here:
        await here.open_circuit()
        here.service.down = False
        await here.call("waiter")
    assert here.served_at("waiter") == pytest.approx(0.1 + COOLDOWN + 0.1)
    assert here.events == [
        RequestWaiting("api.test", "GET", "/things", COOLDOWN),
        RequestAdmitted("api.test", "GET", "/things", COOLDOWN),
    ]


async def test_while_the_circuit_is_closed_nothing_waits(clock: Clock) -> None:
    """There is no room and no event, and the key function is not called."""

    def key(_: httpx.Request) -> str:
        raise AssertionError

    events = Events()
    breaker = CircuitBreakerTransport(Scripted(200, 404, 503, 200), listener=None)
    room = WaitingRoomTransport(breaker, key=key, clock=clock, listener=events)
    statuses = [(await room.handle_async_request(get())).status_code for _ in range(4)]
    assert statuses == [200, 404, 503, 200]
    assert events == []


async def test_of_a_hundred_callers_one_is_the_probe_and_no_burst_follows() -> None:
    """The calls in flight double in each round trip; the newest go first; all are served."""
    async with world() as here:
        await here.open_circuit()
        here.service.down = False
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(here.call, str(number))
                await here.time.sleep(0.01)
    assert here.statuses() == {200: 100, httpx.ConnectError: 1}
    rounds = Counter(round(at, 3) for at, _ in here.service.asked)
    assert list(rounds.values()) == [1, 1, 2, 4, 8, 16, 32, 37]
    assert here.service.names[1] == "99"
    assert set(here.service.names[2:4]) == {"97", "98"}


async def test_a_service_that_gets_slower_gets_no_more_at_a_time() -> None:
    """Once it is slower, each of its responses releases only one waiter."""
    async with world(max_wait=60.0) as here:
        await here.open_circuit()
        here.service.down = False
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(here.call, str(number))
            await here.time.sleep(COOLDOWN + 0.25)
            here.service.seconds = 0.5
    assert here.statuses()[200] == 40
    assert here.service.most == 8


async def test_new_callers_pass_directly_and_their_responses_release_one_each() -> None:
    """They do so once the probe has succeeded."""
    async with world() as here:
        await here.open_circuit()
        here.service.down = False
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(here.call, f"old {number}")
            await here.time.sleep(COOLDOWN + 0.15)
            here.service.seconds = 1.0
            for number in range(5):
                tasks.start_soon(here.call, f"new {number}")
    first = [name for at, name in here.service.asked if at == pytest.approx(0.1 + COOLDOWN + 0.15)]
    assert sorted(first) == [f"new {number}" for number in range(5)]
    assert here.statuses()[200] == 25


async def test_a_failed_probe_costs_one_caller_its_call() -> None:
    """The others continue to wait for the next probe."""
    async with world(max_wait=12.0) as here:
        await here.open_circuit()
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(here.call, name)
                await here.time.sleep(0.01)
            await here.time.sleep(7)
            here.service.down = False
    assert here.statuses() == {200: 2, httpx.ConnectError: 2}
    assert isinstance(here.outcomes["c"][1], httpx.ConnectError)
    assert here.outcomes["b"][0] == pytest.approx(0.1 + 2 * (COOLDOWN + 0.1))


@pytest.mark.parametrize(
    ("extensions", "max_wait"),
    [({"deadline": 4.9}, 10.0), ({"timeout": {"pool": 4.9}}, 10.0), ({}, 4.9)],
)
async def test_a_caller_that_cannot_wait_long_enough_is_rejected_at_once(
    extensions: dict[str, Any], max_wait: float
) -> None:
    """The bound is its deadline, httpx's pool timeout, or the room's `max_wait`."""
    async with world(max_wait=max_wait) as here:
        await here.open_circuit()
        await here.call("hasty", **extensions)
    assert here.outcomes["hasty"][0] == pytest.approx(0.1)
    assert here.error("hasty").retry_after == COOLDOWN
    assert here.error("hasty").waited == 0.0
    assert isinstance(here.error("hasty"), httpx.PoolTimeout) == ("timeout" in extensions)
    reason = RejectReason.CIRCUIT_OPEN_TOO_LONG
    assert list(map(reason_of, here.events)) == [reason]
    assert len(here.service.asked) == 1


async def test_a_caller_whose_own_scope_ends_too_early_is_rejected_at_once() -> None:
    """The cancel scopes of anyio and trio count as bounds."""
    async with world() as here:
        await here.open_circuit()
        with anyio.fail_after(4):  # real seconds, which do not pass
            await here.call("hasty")
    assert here.error("hasty").retry_after == COOLDOWN


async def test_a_forced_circuit_lets_nobody_wait(clock: Clock) -> None:
    """Calls are rejected at once, since it stays open until the operator closes it."""
    breaker = CircuitBreaker(clock=clock)
    breaker.force_open()
    inner = CircuitBreakerTransport(Scripted(200), breaker=breaker, listener=None)
    room = WaitingRoomTransport(inner, clock=clock, listener=None)
    with pytest.raises(CircuitBreakerOpenError, match="forced open"):
        await room.handle_async_request(get())


async def test_a_full_room_rejects_at_once() -> None:
    """One call more than the bound is rejected; those inside are not affected."""
    async with world(max_waiting=2) as here:
        await here.open_circuit()
        here.service.down = False
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(here.call, name)
                await here.time.sleep(0.01)
    assert here.outcomes["c"][0] == pytest.approx(0.12)
    assert here.error("c").retry_after == pytest.approx(COOLDOWN - 0.02)
    assert here.events[2] == RequestRejected(
        "api.test", "GET", "/things", RejectReason.WAITING_ROOM_FULL, here.error("c").retry_after
    )
    assert here.statuses()[200] == 2


async def test_a_wait_has_an_end() -> None:
    """A probe that hangs keeps no caller waiting longer than `max_wait`."""
    async with world(max_wait=7.0) as here:
        await here.open_circuit()
        here.service.seconds = 60.0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.call, "waiter")
            await here.time.sleep(0.01)
            tasks.start_soon(here.call, "probe")
            await here.time.sleep(6.98)
            assert "waiter" not in here.outcomes
            await here.time.sleep(0.02)
            error = here.error("waiter")
            tasks.cancel_scope.cancel()
    assert error.waited == pytest.approx(7.0)
    assert not isinstance(error, httpx.PoolTimeout)
    assert "also after a wait of 7.0 s" in str(error)
    reason = RejectReason.WAITING_ROOM_TIMEOUT
    assert reason_of(here.events[-1]) == reason


async def test_the_pool_timeout_of_httpx_ends_a_wait() -> None:
    """Its error is also an httpx.PoolTimeout, and says so."""
    async with world(cooldown=1.0) as here:
        await here.open_circuit()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(here.call, "waiter", timeout={"pool": 3.0}))
            for number in range(3):  # each is the newest, and so the probe
                await here.time.sleep(0.5)
                tasks.start_soon(here.call, f"probe {number}")
                await here.time.sleep(0.6)
    error = here.error("waiter")
    assert here.outcomes["waiter"][0] == pytest.approx(3.1)
    assert isinstance(error, WaitingRoomTimeoutError)
    assert isinstance(error, httpx.PoolTimeout)
    assert error.waited == pytest.approx(3.0)
    assert str(error).startswith(
        "api.test: circuit breaker is open, also after a wait of 3.0 s (httpx's pool timeout)"
    )
    assert copy.copy(error).waited == error.waited


async def test_a_probe_that_fails_rejects_those_who_cannot_wait_for_the_next() -> None:
    """They are rejected at once, not at the end of their wait."""
    async with world(max_wait=9.0) as here:
        await here.open_circuit()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.call, "old")
            await here.time.sleep(2)
            tasks.start_soon(here.call, "new")
    assert here.outcomes["old"][0] == pytest.approx(0.1 + COOLDOWN + 0.1)
    assert here.error("old").retry_after == COOLDOWN
    assert here.error("old").waited == pytest.approx(COOLDOWN + 0.1)
    reason = RejectReason.CIRCUIT_OPEN_TOO_LONG
    assert reason_of(here.events[-1]) == reason


async def test_each_key_has_a_room_of_its_own() -> None:
    """A circuit of another origin neither holds nor releases anyone."""
    async with world() as here:
        await here.open_circuit(HERE)
        await here.open_circuit(ELSEWHERE)
        here.service.down = False
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(here.call, f"here {number}")
                tasks.start_soon(here.call, f"there {number}", ELSEWHERE)
            await here.time.sleep(1)
            assert "6 waiting" in repr(here.room)
            assert room_of(here.room) == 2
    assert here.statuses()[200] == 6
    began = sorted(at for at, _ in here.service.asked)
    assert began == pytest.approx([0, 0.1, 5.1, 5.2, 5.2, 5.2, 5.3, 5.3])


async def test_a_new_caller_may_be_the_probe() -> None:
    """It may ask at the very moment at which the cooldown ends; the waiter follows."""
    async with world() as here:
        await here.open_circuit()
        here.service.down = False
        async with anyio.create_task_group() as tasks:

            async def early() -> None:
                await here.time.sleep(COOLDOWN)  # which rings before the timer of the waiter
                await here.call("early")

            tasks.start_soon(early)
            await here.time.sleep(0)
            tasks.start_soon(here.call, "waiter")
    assert here.service.names == ["opener", "early", "waiter"]
    assert here.served_at("waiter") == pytest.approx(0.1 + COOLDOWN + 0.2)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_who_is_released_and_rejected_waits_on(*, cancelled: bool) -> None:
    """Another call may become the probe if a layer between room and circuit is slow."""
    async with world() as here:
        await here.open_circuit()
        here.service.down = False
        circuit: Any = vars(here.room)["_inner"]

        async def slow(request: httpx.Request) -> httpx.Response:
            await here.time.sleep(0.05)
            response: httpx.Response = await circuit.handle_async_request(request)
            return response

        here.room = WaitingRoomTransport(
            Scripted(slow),
            clock=here.time.monotonic,
            timer=here.time.move_on_after,
            listener=here.events,
        )
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(_maybe_cancelled, here, 0, 0, scope)
            await here.time.sleep(COOLDOWN - 0.02)
            tasks.start_soon(here.call, "probe")
            await here.time.sleep(0.1)
            assert here.events.names[-2:] == ["request_admitted", "request_waiting"]
            if cancelled:
                scope.cancel()
    assert here.service.names == ["opener", "probe", "0"][: 2 if cancelled else 3]
    assert room_of(here.room) == 0
    assert cancelled or here.served_at("0") == pytest.approx(0.1 + COOLDOWN + 0.03 + 0.1 + 0.15)


async def test_a_cancelled_waiter_leaves_at_once() -> None:
    """The next waiter watches in its place, and is not late."""
    async with world() as here:
        await here.open_circuit()
        here.service.down = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.call, "old")
            await here.time.sleep(0.01)
            with here.time.move_on_after(1):
                await here.call("newest")
            assert "1 waiting" in repr(here.room)
    assert here.served_at("old") == pytest.approx(0.1 + COOLDOWN + 0.1)


async def test_callers_may_be_cancelled_at_every_moment() -> None:
    """Of ten callers, any may be cancelled at any event, and all others are served."""
    moments = [0.0, COOLDOWN - 0.01, COOLDOWN, COOLDOWN + 0.1, COOLDOWN + 0.2, COOLDOWN + 0.35]
    for victim in range(10):
        for moment in moments:
            async with world() as here:
                await here.open_circuit()
                here.service.down = False
                async with anyio.create_task_group() as tasks:
                    scope = anyio.CancelScope()
                    for number in range(10):
                        tasks.start_soon(_maybe_cancelled, here, number, victim, scope)
                    await here.time.sleep(moment)
                    scope.cancel()
            lost = 0 if str(victim) in here.outcomes else 1
            assert here.statuses()[200] == 10 - lost, (victim, moment)


async def _maybe_cancelled(here: World, number: int, victim: int, scope: anyio.CancelScope) -> None:
    if number != victim:
        await here.call(str(number))
        return
    with scope:
        await here.call(str(number))


async def test_a_waiter_can_be_cancelled_at_every_step() -> None:
    """The cancellation may come before or after its release, in any order of the tasks."""
    for steps in range(12):
        async with world() as here:
            await here.open_circuit()
            here.service.down = False
            async with anyio.create_task_group() as tasks:
                scope = anyio.CancelScope()
                tasks.start_soon(_maybe_cancelled, here, 0, 1, scope)
                await here.time.sleep(0.01)
                tasks.start_soon(_maybe_cancelled, here, 1, 1, scope)
                await here.time.sleep(COOLDOWN - 0.01)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
        assert here.outcomes["0"][1] == 200


async def test_closing_ends_all_waits() -> None:
    """Each waiting call gets an error that says so; the room can be used again."""
    async with world() as here:
        await here.open_circuit()
        here.service.down = False
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(here.call, name)
            await here.time.sleep(1)
            await here.room.aclose()
        assert here.statuses()[TransportClosedError] == 3
        assert len(here.service.asked) == 1
        await here.call("later")
    assert here.outcomes["later"][1] == 200


async def test_a_call_that_began_before_the_closing_does_not_wait_after_it() -> None:
    """If the circuit rejects it after the close, it raises a TransportClosedError."""
    async with world() as here:
        breaker = CircuitBreaker(1, COOLDOWN, clock=here.time.monotonic)
        breaker.record_failure()
        rejecting = CircuitBreakerTransport(here.service, breaker=breaker, listener=None)

        async def slow(request: httpx.Request) -> httpx.Response:
            await here.time.sleep(1)
            return await rejecting.handle_async_request(request)

        here.room = WaitingRoomTransport(Scripted(slow), clock=here.time.monotonic, listener=None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.call, "early")
            await here.time.sleep(0.5)
            await here.room.aclose()
    assert isinstance(here.outcomes["early"][1], TransportClosedError)


@pytest.mark.parametrize("closes", [False, True])
async def test_the_end_of_a_probes_body_releases_waiters(closes: bool) -> None:  # noqa: FBT001 - a parameter
    """Good headers close no circuit: the next one goes when the body has ended or is closed."""
    async with world(cooldown=COOLDOWN) as here:
        await here.open_circuit()
        here.service.down = False
        here.service.body = partial(Body, b"one", b"two")
        async with anyio.create_task_group() as tasks:

            async def probe() -> None:
                await here.time.sleep(0.01)
                response = await here.room.handle_async_request(get(HERE))
                await here.time.sleep(2)
                if not closes:
                    await response.aread()
                await response.aclose()

            tasks.start_soon(here.call, "waiter")
            tasks.start_soon(probe)
    assert here.served_at("waiter") == pytest.approx(0.1 + COOLDOWN + 0.1 + 2 + 0.1)


async def test_a_probes_body_that_breaks_off_has_the_others_wait_for_the_next_cooldown() -> None:
    """The broken body opens the circuit again, and the wait for a probe is reset."""
    async with world(cooldown=2.0) as here:
        await here.open_circuit()
        here.service.down = False
        bodies = iter([Body(b"one", httpx.ReadError("broken")), *(Body(b"one") for _ in range(3))])
        here.service.body = partial(next, bodies)
        async with anyio.create_task_group() as tasks:
            for name in ("old", "probe"):
                tasks.start_soon(here.call, name)
                await here.time.sleep(0.01)
    assert isinstance(here.outcomes["probe"][1], httpx.ReadError)
    assert here.served_at("old") == pytest.approx(0.1 + 2 * (2.0 + 0.1))


async def test_a_circuit_that_wants_several_probes_gets_no_more() -> None:
    """Those that are rejected come back, and everyone is served."""
    async with world(probes=3) as here:
        await here.open_circuit()
        here.service.down = False
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(here.call, str(number))
    assert here.statuses()[200] == 6
    assert here.service.most == 2


async def test_a_circuit_that_the_operator_closes_is_found_closed() -> None:
    """The waiters notice it at the end of the cooldown at the latest."""
    async with world() as here:
        await here.open_circuit()
        here.service.down = False
        breaker: Any = vars(here.room)["_inner"].breaker_for(HERE)
        async with anyio.create_task_group() as tasks:
            for name in "ab":
                tasks.start_soon(here.call, name)
            await here.time.sleep(1)
            breaker.reset()
            await here.call("new")
    assert here.outcomes["new"][0] == pytest.approx(1.2)
    assert here.statuses()[200] == 3
    assert max(at for at, _ in here.outcomes.values()) == pytest.approx(1.4)


def retrying(here: World, **options: Any) -> None:  # noqa: ANN401 - handed on
    """Put a retry around the room."""
    policy = RetryPolicy(backoff=Backoff(base=0.5, cap=0.5), **options)
    retry: Any = RetryTransport(
        here.room, policy=policy, clock=here.time.monotonic, sleep=here.time.sleep, listener=None
    )
    here.room = retry


async def test_a_call_that_opens_the_circuit_comes_back_to_wait() -> None:
    """Without the room its retry would not even begin, as the circuit is open."""
    async with world() as here:
        retrying(here)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.call, "call")
            await here.time.sleep(1)
            here.service.down = False
        here.room = vars(here.room)["_inner"]
    assert here.served_at("call") == pytest.approx(0.1 + COOLDOWN + 0.1)
    assert here.service.names == ["call", "call"]


async def test_a_call_whose_body_opens_the_circuit_comes_back_to_wait() -> None:
    """The circuit opens while the retry reads the body, outside of the room."""
    async with world() as here:
        here.service.down = False
        bodies = iter([Body(httpx.ReadError("broken")), Body(b"one")])
        here.service.body = partial(next, bodies)
        retrying(here)
        await here.call("call", whole_body=True)
        here.room = vars(here.room)["_inner"]
    assert here.served_at("call") == pytest.approx(0.1 + COOLDOWN + 0.1)


async def test_a_call_that_could_not_wait_ends_with_what_came_last() -> None:
    """It ends at once, instead of being rejected after a backoff."""
    async with world() as here:
        retrying(here)
        await here.call("call", deadline=3)
        here.room = vars(here.room)["_inner"]
    assert here.outcomes["call"][0] == pytest.approx(0.1)
    assert isinstance(here.outcomes["call"][1], httpx.ConnectError)
    assert here.events == []


async def test_a_call_that_would_find_the_room_full_ends_with_what_came_last() -> None:
    """It would be rejected after its backoff."""
    async with world(max_waiting=1) as here:
        here.service.seconds = 1.0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.call, "first")
            retry: Any = RetryTransport(here.room, listener=None, sleep=here.time.sleep)
            late = get(HERE, headers={"x-name": "late"})
            await here.time.sleep(0.5)
            tasks.start_soon(_fails_at, here, retry.handle_async_request(late), 1.5)
            await here.time.sleep(0.6)  # the circuit is open
            await here.call("waiter")
    assert isinstance(here.outcomes["waiter"][1], httpx.ConnectError)


async def _fails_at(here: World, call: Coroutine[None, None, httpx.Response], at: float) -> None:
    with pytest.raises(httpx.ConnectError):
        await call
    assert here.time.monotonic() == pytest.approx(at)


async def test_a_wait_that_the_pool_timeout_ended_is_retried_as_a_pool_timeout_is() -> None:
    """The call returns to the room, with a new wait; without one its caller gets the error."""
    async with world(cooldown=Backoff(base=2.0, factor=1, cap=4)) as here:
        here.service.seconds = 0.5
        await here.open_circuit()
        retrying(here)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(here.call, "patient", timeout={"pool": 3.0}))
            tasks.start_soon(partial(here.call, "single", timeout={"pool": 3.0}, retry=False))
            await here.time.sleep(1)
            await here.call("probe", retry=False)
            here.service.down = False
        here.room = vars(here.room)["_inner"]
    assert here.outcomes["probe"][0] == pytest.approx(0.5 + 2.0 + 0.5)
    assert here.outcomes["single"][0] == pytest.approx(0.5 + 3.0)
    assert isinstance(here.error("single"), WaitingRoomTimeoutError)
    assert here.served_at("patient") == pytest.approx(3.0 + 2.0 + 0.5)
    assert here.service.names == ["opener", "probe", "patient"]


async def test_a_pool_timeout_that_is_too_short_is_not_retried() -> None:
    """Each retry would meet the same circuit."""
    async with world() as here:
        await here.open_circuit()
        retrying(here)
        await here.call("hasty", timeout={"pool": 3.0})
        here.room = vars(here.room)["_inner"]
    assert here.outcomes["hasty"][0] == pytest.approx(0.1)
    assert isinstance(here.error("hasty"), WaitingRoomTimeoutError)


@pytest.mark.parametrize("in_trouble", [False, True])
async def test_a_breaker_of_another_make_rejects_as_it_does(clock: Clock, in_trouble: bool) -> None:  # noqa: FBT001 - a parameter
    """Its state is unknown, so calls do not wait; a breaker of ours around it admits them."""
    refusal = CircuitBreakerOpenError("other", 1.0)
    breaker = CircuitBreakerTransport(Scripted(refusal), clock=clock, listener=None)
    if in_trouble:
        breaker.breaker_for(URL).record_failure()
    room = WaitingRoomTransport(breaker, clock=clock, listener=None)
    with pytest.raises(CircuitBreakerOpenError) as caught:
        await room.handle_async_request(get())
    assert caught.value is refusal


async def test_a_released_caller_may_be_rejected_by_another_breaker() -> None:
    """The rejection reaches the caller, and the room is removed."""
    async with world() as here:
        await here.open_circuit()
        here.service.down = False
        refusal = CircuitBreakerOpenError("other", 1.0)

        async def rejecting(_: httpx.Request) -> httpx.Response:
            raise refusal

        setattr(here.service, "handle_async_request", rejecting)  # noqa: B010 - a method
        await here.call("waiter")
    assert here.error("waiter") is refusal


async def test_the_headers_of_a_response_release_and_its_end_does_not() -> None:
    """Each response counts once, however long its body takes."""
    async with world() as here:
        await here.open_circuit()
        here.service.down = False
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(here.call, str(number))
            await here.time.sleep(COOLDOWN + 0.05)  # the probe is in flight
            here.service.seconds = 1.0
            await here.time.sleep(0.1)  # it has released two, which are slow
            assert len(here.service.asked) == 4
            here.service.seconds = 0.1
            here.service.body = partial(Body, b"one")
            response = await here.room.handle_async_request(get(HERE))
            await here.time.sleep(0.01)
            assert len(here.service.asked) == 6  # its own, and the one that it released
            await response.aread()
            await here.time.sleep(0.01)
            assert len(here.service.asked) == 6


async def test_what_is_no_failure_to_the_breaker_is_a_success_here() -> None:
    """For example, a 404 shows that the service is back."""
    async with world() as here:
        await here.open_circuit()
        here.service.down, here.service.status = False, 404
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(here.call, str(number))
        assert here.time.monotonic() == pytest.approx(0.1 + COOLDOWN + 0.1 + 0.1 + 0.1)
    assert here.statuses()[404] == 4


async def test_a_request_that_is_sent_again_brings_nothing_along(clock: Clock) -> None:
    """A failure of an earlier call with the same request does not count for this one."""
    breaker = CircuitBreakerTransport(
        Scripted(503, 200), failure_threshold=1, cooldown=20, clock=clock, listener=None
    )
    room = WaitingRoomTransport(breaker, clock=clock, listener=None)
    request = get()
    await room.handle_async_request(request)
    assert "walltrack.gate" in request.extensions  # no wait could be long enough
    clock.advance(20)
    await room.handle_async_request(request)
    assert "walltrack.gate" not in request.extensions


async def test_a_rejection_is_collected_with_its_last_reference(clock: Clock) -> None:
    """No frame holds it, and with it the request, until the garbage collector comes."""
    breaker = CircuitBreakerTransport(
        Scripted(503), failure_threshold=1, cooldown=20, clock=clock, listener=None
    )
    room = WaitingRoomTransport(breaker, clock=clock, listener=None)
    await room.handle_async_request(get())
    with without_gc():
        for _ in range(3):
            with pytest.raises(CircuitBreakerOpenError):
                await room.handle_async_request(get(URL + "&mine"))
        gc_found = [
            o for o in gc.get_objects() if isinstance(o, httpx.Request) and "mine" in str(o.url)
        ]
    assert gc_found == []


async def test_rooms_take_no_memory_once_they_are_empty() -> None:
    """This holds for any number of origins."""
    async with world() as here:
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                url = f"https://host{number}.test/"
                await here.open_circuit(url)
                tasks.start_soon(here.call, str(number), url)
            await here.time.sleep(0.01)
            assert room_of(here.room) > 10
            here.service.down = False
        assert room_of(here.room) == 0
    assert here.statuses()[200] >= 49


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_waiting": 0}, ValueError, "max_waiting must be at least 1"),
        ({"max_waiting": 1.5}, TypeError, "max_waiting must be a whole number"),
        ({"max_wait": 0}, ValueError, "max_wait must be a finite number above 0"),
        ({"max_wait": float("inf")}, ValueError, "max_wait must be a finite number above 0"),
        ({"max_wait": "10"}, TypeError, "max_wait must be a number"),
        ({"key": "origin"}, TypeError, "key must be"),
        ({"clock": 3}, TypeError, "clock must be"),
        ({"timer": 3}, TypeError, "timer must be"),
        ({"listener": 3}, TypeError, "listener must be"),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """The constructor raises an error that names the option."""
    with pytest.raises(error, match=text):
        WaitingRoomTransport(Scripted(200), **options)


def test_it_shows_its_bounds() -> None:
    """Its repr shows the bounds, and how many calls wait."""
    inner = CircuitBreakerTransport(Scripted(200))
    assert repr(WaitingRoomTransport(inner, 5, 2.5)) == (
        "WaitingRoomTransport(CircuitBreakerTransport(Scripted(), 0 breakers), max_waiting=5, "
        "max_wait=2.5, <0 waiting>)"
    )


@pytest.mark.parametrize("when", ["headers", "body"])
async def test_a_clock_that_raises_replaces_no_cancellation(when: str) -> None:
    """The caller's cancellation ends the call although the clock raises."""
    clock = Clock()
    failing = Failing(ValueError("clock"), works=10**6, value=clock.now)
    breaker = CircuitBreaker(1, 5, clock=failing)

    async def silent(_: httpx.Request) -> httpx.Response:
        if when == "headers":
            await anyio.sleep_forever()
        return httpx.Response(200, stream=Silent())

    inner = CircuitBreakerTransport(Scripted(silent), breaker=breaker, listener=None)
    room = WaitingRoomTransport(inner, clock=clock, listener=None)
    breaker.record_failure()
    breaker.observe_only()  # so that the circuit is in trouble, and lets the call through
    breaker.record_failure()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                await anyio.wait_all_tasks_blocked()
                failing.works = 0
                scope.cancel()

            tasks.start_soon(cancel)
            response = await room.handle_async_request(get())
            await response.aread()
    assert scope.cancelled_caught


class Silent(httpx.AsyncByteStream):
    """A body that never comes."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await anyio.sleep_forever()
        yield b""


async def test_a_clock_that_raises_as_a_call_fails_is_heard(clock: Clock) -> None:
    """The clock's exception is raised, and nothing is left behind."""
    failing = Failing(ValueError("clock"))
    inner = CircuitBreakerTransport(
        Scripted(httpx.ConnectError), failure_threshold=1, clock=clock, listener=None
    )
    room = WaitingRoomTransport(inner, clock=failing, listener=None)
    with pytest.raises(ValueError, match="clock"):
        await room.handle_async_request(get(extensions={"walltrack.deadline": 1}))
    assert room_of(room) == 0


async def test_a_clock_without_its_timer_is_refused_at_the_first_wait(clock: Clock) -> None:
    """A clock that stands still while a timer runs would have a caller wait without end."""
    breaker = CircuitBreakerTransport(
        Scripted(503), failure_threshold=1, cooldown=0.02, clock=clock, listener=None
    )
    room = WaitingRoomTransport(breaker, clock=clock, listener=None)
    await room.handle_async_request(get())
    with anyio.fail_after(5), pytest.raises(RuntimeError, match="replace clock and timer together"):
        await room.handle_async_request(get())
    assert room.describe()["rooms"] == []
