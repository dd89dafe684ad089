import asyncio
import contextlib
import itertools
import math
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.support import Body, Clock, Events, Scripted, Step, get, post, without_gc
from walltrack import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    CircuitState,
    Classification,
    Event,
    RetryBudget,
    RetryTransport,
)
from walltrack.core import classification
from walltrack.core.events import RequestHedged
from walltrack.core.extensions import DEADLINE, GATE
from walltrack.core.naming import origin_of
from walltrack.hedging.transport import HedgingTransport

asynchronous = pytest.mark.anyio

Outcome = int | type[Exception]

SOON = 20
"""More turns of the loop than anything here takes."""


async def turns() -> None:
    """Let the other tasks run as far as they can."""
    for _ in range(SOON):
        await anyio.lowlevel.checkpoint()


class Flight:
    """An attempt in flight, which ends when and as the test decides."""

    def __init__(self, request: httpx.Request) -> None:
        self.request = request
        self.cancelled = False
        self.body = Body(b"ok")
        self._landed = anyio.Event()
        self.outcome: Outcome = 0

    def land(self, outcome: Outcome) -> None:
        """End with a status or an exception."""
        self.outcome = outcome
        self._landed.set()

    async def fly(self) -> httpx.Response:
        try:
            await self._landed.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled = True
            raise
        if isinstance(self.outcome, int):
            return httpx.Response(self.outcome, stream=self.body)
        raise self.outcome(f"of {self.request.method}")


class Flights(list[Flight], httpx.AsyncBaseTransport):
    """All attempts, in order."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.append(Flight(request))
        return await self[-1].fly()


class Call:
    """A call whose timer and attempts advance only when the test lets them."""

    def __init__(self, guard: Callable[[Flights], httpx.AsyncBaseTransport] | None = None) -> None:
        self.flights = Flights()
        self.timer = anyio.Event()
        self.budget = RetryBudget(10, deposit=0, refill=0, shared=True)
        self.events = Events()
        self.request = get()
        self.ended: httpx.Response | BaseException | None = None
        self.scope = anyio.CancelScope()
        inner = self.flights if guard is None else guard(self.flights)
        self.transport = HedgingTransport(
            inner, 0.1, budget=self.budget, sleep=self.sleep, listener=self.events
        )

    async def sleep(self, _: float) -> None:
        await self.timer.wait()

    async def run(self) -> None:
        with self.scope:
            try:
                self.ended = await self.transport.handle_async_request(self.request)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
                self.ended = error

    @contextlib.asynccontextmanager
    async def under_way(self, *, hedged: bool = True) -> Any:  # noqa: ANN401 - an iterator
        """The first attempt is in flight while the block runs, and by default also the second."""
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.run)
                await turns()
                if hedged:
                    self.timer.set()
                    await turns()
                yield

    @property
    def leaked(self) -> list[Flight]:
        """Attempts that still hold something, except the caller's response."""
        kept = self.ended.stream if isinstance(self.ended, httpx.Response) else None
        return [
            flight
            for flight in self.flights
            if flight.body is not kept
            and not flight.cancelled
            and not flight.body.closes
            and isinstance(flight.outcome, int)
        ]

    def shows(self) -> Outcome | type[BaseException] | None:
        """What the caller gets: a status, or the class of an exception."""
        if isinstance(self.ended, httpx.Response):
            return self.ended.status_code
        return None if self.ended is None else type(self.ended)


# Which attempt wins


@asynchronous
async def test_an_answer_in_time_is_all_there_is() -> None:
    """No second attempt, no event, no withdrawal, and no timer is left."""
    call = Call()
    async with call.under_way(hedged=False):
        call.flights[0].land(200)
    assert call.shows() == 200
    assert len(call.flights) == 1
    assert call.events == []
    assert call.budget.balance == 10


@asynchronous
async def test_the_second_attempt_wins() -> None:
    """The first is cancelled, and the caller gets the second response, its body open."""
    call = Call()
    async with call.under_way():
        call.flights[1].land(200)
    assert isinstance(call.ended, httpx.Response)
    assert call.flights[0].cancelled
    assert call.flights[1].body.closes == 0
    assert await call.ended.aread() == b"ok"
    assert call.budget.balance == 9


@asynchronous
async def test_the_first_attempt_wins_after_all() -> None:
    """The second is cancelled."""
    call = Call()
    async with call.under_way():
        call.flights[0].land(404)
    assert call.shows() == 404
    assert call.flights[1].cancelled


@asynchronous
@pytest.mark.parametrize("outcome", [503, 429, httpx.ReadError, RuntimeError])
async def test_a_failure_in_time_comes_back_as_it_is(outcome: Outcome) -> None:
    """Retrying after a failure is the task of another layer."""
    call = Call()
    async with call.under_way(hedged=False):
        call.flights[0].land(outcome)
    assert call.shows() == outcome
    assert len(call.flights) == 1
    assert call.leaked == []


@asynchronous
@pytest.mark.parametrize("outcome", [200, 503, httpx.ReadError])
async def test_a_timer_that_rings_too_late_sends_nothing(outcome: Outcome) -> None:
    """The first attempt ended at the same moment, when the timer could no longer be stopped."""
    call = Call()

    async def sleep(_: float) -> None:
        call.flights[0].land(outcome)
        with anyio.CancelScope(shield=True):
            await turns()

    call.transport = HedgingTransport(call.flights, 0.1, sleep=sleep, listener=call.events)
    async with call.under_way():
        pass
    assert call.shows() == outcome
    assert len(call.flights) == 1
    assert call.events == []


@asynchronous
@pytest.mark.parametrize("failure", [503, httpx.ReadError, CircuitBreakerOpenError])
@pytest.mark.parametrize("failing", [0, 1])
async def test_if_one_fails_the_other_is_waited_for(failing: int, failure: Outcome) -> None:
    """However long it takes."""
    call = Call()
    async with call.under_way():
        call.flights[failing].land(failure)
        await turns()
        assert call.ended is None
        call.flights[1 - failing].land(200)
    assert call.shows() == 200
    assert not any(flight.cancelled for flight in call.flights)
    assert call.leaked == []


@asynchronous
async def test_a_second_answer_that_is_not_good_is_let_go_of_at_once() -> None:
    """Its connection is free while the first attempt continues."""
    call = Call()
    async with call.under_way():
        call.flights[1].land(503)
        await turns()
        assert call.flights[1].body.closes == 1
        assert call.flights[1].body.read == 2  # so that it can be reused
        call.flights[0].land(503)
    assert call.shows() == 503
    assert call.leaked == []


@asynchronous
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_if_both_fail_it_is_as_the_first_one_did(order: tuple[int, int]) -> None:
    """Whichever failed last."""
    call = Call()
    failures = (httpx.ConnectError, httpx.ReadError)
    async with call.under_way():
        for number in order:
            call.flights[number].land(failures[number])
            await turns()
    assert call.shows() is httpx.ConnectError


def model(first: Outcome, second: Outcome, order: str) -> Outcome:
    """The result when the timer, the first and the second attempt end in this order."""
    if order.index("F") < order.index("T"):
        return first
    ends = first, second
    for number in ("FS".index(step) for step in order if step in "FS"):
        if ends[number] in (200, 204):
            return ends[number]
    return first


def orders(groups: str) -> Iterator[str]:
    """Every possible order of the ends, where those of a group happen at once."""
    for parts in itertools.product(*map(itertools.permutations, groups.split())):
        yield "".join(itertools.chain(*parts))


@asynchronous
@pytest.mark.parametrize("first", [200, 503, httpx.ReadError])
@pytest.mark.parametrize("second", [204, 500, httpx.WriteError])
@pytest.mark.parametrize(
    "order", ["F T S", "T F S", "T S F", "T FS", "T SF", "TFS", "FT S", "TF S", "TSF"]
)
async def test_every_interleaving(first: Outcome, second: Outcome, order: str) -> None:
    """The timer, the first and the second attempt end one after the other or at once."""
    call = Call()
    async with call.under_way(hedged=False):
        for step in order:
            if step == " ":
                await turns()
            elif step == "T":
                call.timer.set()
            elif step == "F":
                call.flights[0].land(first)
            elif len(call.flights) > 1:
                call.flights[1].land(second)
        await turns()
        if call.ended is None:  # the second attempt began too late to be ended above
            call.flights[1].land(second)
    # Of attempts that end at once, the event loop decides which is seen first.
    assert call.shows() in {model(first, second, possible) for possible in orders(order)}
    assert call.leaked == []
    assert len(call.events) == len(call.flights) - 1 == 10 - call.budget.balance
    if isinstance(call.ended, httpx.Response):
        assert await call.ended.aread() == b"ok"


# Requests and events


@asynchronous
async def test_each_attempt_has_a_request_of_its_own() -> None:
    """Both are copies of the caller's request, which stays unchanged."""
    call = Call()
    async with call.under_way():
        first, second = (flight.request for flight in call.flights)
        assert len({id(r) for r in (call.request, first, second)}) == 3
        assert len({id(r.extensions) for r in (call.request, first, second)}) == 3
        call.flights[1].land(200)
    assert first.url == second.url == call.request.url
    assert call.request.extensions == {}


@asynchronous
async def test_the_second_attempt_is_reported(events: Events, clock: Clock) -> None:
    """With service, method, path, and the time of the first attempt; no userinfo, no query."""

    async def late(_: httpx.Request) -> httpx.Response:
        await turns()
        return httpx.Response(200)

    transport = HedgingTransport(
        Scripted(late), 0.25, clock=clock, sleep=clock.sleep, listener=events
    )
    await transport.handle_async_request(get("https://me:secret@api.test:8443/a?key=secret"))
    assert events == [RequestHedged("api.test:8443", "GET", "/a", 0.25)]
    assert "secret" not in repr(events)
    assert clock.sleeps == [0.25]


@asynchronous
async def test_no_listener_is_needed() -> None:
    """A listener that raises does not break the call either."""

    def deaf(_: Event) -> None:
        raise RuntimeError("deaf")

    for listener in (None, deaf):
        call = Call()
        call.transport = HedgingTransport(
            call.flights, 0.1, budget=call.budget, sleep=call.sleep, listener=listener
        )
        async with call.under_way():
            call.flights[1].land(200)
        assert call.shows() == 200


# What is not sent twice


async def hedges(transport: HedgingTransport, request: httpx.Request, flights: Flights) -> bool:
    """Whether a request whose first attempt hangs is sent twice."""
    before = len(flights)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.handle_async_request, request)
        await turns()
        for flight in flights[before:]:
            flight.land(200)
    return len(flights) - before > 1


async def at_once(_: float) -> None:
    """Return without waiting."""


@asynchronous
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE"])
async def test_only_what_reads_is_sent_twice(method: str) -> None:
    """Unless the `methods` argument says otherwise, in any letter case."""
    flights = Flights()
    request = httpx.Request(method, "https://api.test/", content=b"x")
    standard = HedgingTransport(flights, 0.1, sleep=at_once, listener=None)
    assert await hedges(standard, request, flights) is (method in {"GET", "HEAD", "OPTIONS"})
    told = HedgingTransport(flights, 0.1, methods={"put", "TRACE"}, sleep=at_once, listener=None)
    assert await hedges(told, request, flights) is (method in {"PUT", "TRACE"})


@asynchronous
async def test_a_body_that_is_not_in_memory_is_sent_once() -> None:
    """Two attempts would read the same generator or the same file at once."""

    async def upload() -> Any:  # noqa: ANN401 - an async generator
        yield b"x"

    flights = Flights()
    transport = HedgingTransport(
        flights, 0.1, methods={"PUT"}, sleep=at_once, listener=None, budget=RetryBudget()
    )
    for body, twice in (
        ({"content": upload()}, False),
        ({"files": {"f": b"x"}}, False),
        ({"content": b"x"}, True),
        ({"json": {"a": 1}}, True),
        ({}, True),
    ):
        request = httpx.Request("PUT", "https://api.test/", **body)
        assert await hedges(transport, request, flights) is twice


class Left:
    """A deadline."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def remaining(self) -> float:
        return self._seconds


@asynchronous
@pytest.mark.parametrize(("left", "twice"), [(0.1, False), (0.11, True), (math.inf, True)])
async def test_no_timer_runs_beyond_the_deadline(left: float, *, twice: bool) -> None:
    """If the second attempt could begin only after the deadline, no timer is started."""
    flights = Flights()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    transport = HedgingTransport(flights, 0.1, sleep=sleep, listener=None)
    assert await hedges(transport, get(extensions={DEADLINE: Left(left)}), flights) is twice
    assert slept == [0.1] * twice


# The budget


@asynchronous
async def test_an_empty_budget_sends_nothing_twice() -> None:
    """A given budget is paid from, and not refilled here."""
    flights = Flights()
    budget = RetryBudget(2, deposit=1, refill=0, shared=True)
    transport = HedgingTransport(flights, 0.1, budget=budget, sleep=at_once, listener=None)
    assert [await hedges(transport, get(), flights) for _ in range(4)] == [True, True, False, False]
    budget.deposit()
    assert await hedges(transport, get(), flights)


@asynchronous
async def test_a_budget_that_another_call_emptied_meanwhile() -> None:
    """The budget is checked when the second attempt is due, not before."""
    call = Call()
    async with call.under_way(hedged=False):
        while call.budget.withdraw():
            pass
        call.timer.set()
        await turns()
        call.flights[0].land(200)
    assert len(call.flights) == 1
    assert call.events == []


@asynchronous
async def test_by_itself_it_sends_a_twentieth_more(clock: Clock) -> None:
    """Ten second attempts at first, then one for each twenty good answers."""
    flights = Flights()
    transport = HedgingTransport(flights, 0.1, clock=clock, sleep=at_once, listener=None)
    twice = [await hedges(transport, get(), flights) for _ in range(210)]
    assert sum(twice[:10]) == 10
    assert sum(twice) == 20


@asynchronous
async def test_what_is_not_good_or_not_quick_funds_nothing(clock: Clock) -> None:
    """A service that fails, or is slow throughout, gets no additional requests."""

    def slow(_: httpx.Request) -> httpx.Response:
        clock.advance(0.11)
        return httpx.Response(200)

    bad: list[Step] = [503, httpx.ReadError, slow]
    answers = Scripted(*bad * 50, 200)
    transport = HedgingTransport(answers, 0.1, clock=clock, sleep=at_once, listener=None)
    budgets = transport._budgets  # noqa: SLF001 - our own
    key = origin_of(get())
    while budgets.withdraw(key):
        pass
    for _ in range(150):
        with contextlib.suppress(httpx.ReadError):
            await transport.handle_async_request(get())
    assert budgets.short[key].balance == 0.0
    await transport.handle_async_request(get())
    assert budgets.short[key].balance == 0.05


@asynchronous
async def test_a_budget_shared_with_retries(events: Events) -> None:
    """The retry layer funds it, and each hedge and each retry withdraws one."""
    call = Call()
    call.budget = RetryBudget(10, deposit=0.5, refill=0, shared=True)
    hedging = HedgingTransport(
        call.flights, 0.1, budget=call.budget, sleep=call.sleep, listener=None
    )
    top: Any = RetryTransport(hedging, budget=call.budget, sleep=at_once, listener=events)
    call.transport = top
    async with call.under_way():
        call.flights[0].land(503)
        call.flights[1].land(503)
        await turns()
        assert call.budget.balance == 7  # a hedge, a retry, and the retry's hedge
        call.flights[3].land(200)
    assert call.shows() == 200
    assert call.budget.balance == 7.5
    assert events.names == ["retry_scheduled", "call_succeeded_after_retries"]


# The moving percentile


class Latencies(Scripted):
    """Answers after the given seconds on the clock, one after the other."""

    def __init__(self, clock: Clock, *seconds: float) -> None:
        def after(wait: float) -> Callable[[httpx.Request], httpx.Response]:
            def answer(_: httpx.Request) -> httpx.Response:
                clock.advance(wait)
                return httpx.Response(200)

            return answer

        super().__init__(*map(after, seconds))


@pytest.fixture
def measured(clock: Clock) -> Callable[..., HedgingTransport]:
    """Makes a transport that measures the answers of a script, and only notes its sleeps."""

    def make(inner: httpx.AsyncBaseTransport, **options: Any) -> HedgingTransport:  # noqa: ANN401 - handed on
        return HedgingTransport(inner, clock=clock, sleep=clock.sleep, listener=None, **options)

    return make


async def delay_after(transport: HedgingTransport, clock: Clock, url: str) -> float | None:
    """How long the next request waits for its first attempt; None if it does not hedge."""
    before = len(clock.sleeps)
    inner: Any = transport._inner  # noqa: SLF001 - our own

    async def late(_: httpx.Request) -> httpx.Response:
        await turns()
        return httpx.Response(200)

    inner.steps = [late]
    await transport.handle_async_request(get(url))
    return clock.sleeps[before] if len(clock.sleeps) > before else None


@asynchronous
async def test_the_delay_is_what_nineteen_of_twenty_took(
    clock: Clock, measured: Callable[..., HedgingTransport]
) -> None:
    """From the twentieth request on; before it, no request is sent twice."""
    times = [0.125 * n for n in range(1, 21)]
    transport = measured(Latencies(clock, *times))
    for _ in times[:-1]:
        await transport.handle_async_request(get())
    assert clock.sleeps == []
    await transport.handle_async_request(get())
    assert await delay_after(transport, clock, "https://api.test/other") == times[18]


@asynchronous
@pytest.mark.parametrize(
    ("key", "expected"), [({}, None), ({"key": lambda request: request.method}, 0.5)]
)
async def test_each_origin_is_measured_by_itself(
    clock: Clock,
    measured: Callable[..., HedgingTransport],
    key: dict[str, Any],
    expected: float | None,
) -> None:
    """Or by what the caller's key takes for one server."""
    transport = measured(Latencies(clock, 0.5), **key)
    for _ in range(20):
        await transport.handle_async_request(get("https://one.test/"))
    assert await delay_after(transport, clock, "https://two.test/") == expected


@asynchronous
async def test_failures_say_how_long_it_takes_only_if_they_took_long(
    clock: Clock, measured: Callable[..., HedgingTransport]
) -> None:
    """A quick failure does not count; a timeout is a lower bound of the latency."""

    def fail(wait: float) -> Callable[[httpx.Request], httpx.Response]:
        def failing(_: httpx.Request) -> httpx.Response:
            clock.advance(wait)
            raise httpx.ReadTimeout("scripted")

        return failing

    inner = Latencies(clock, *[0.5] * 20)
    transport = measured(inner, budget=(budget := RetryBudget(1, deposit=1, refill=0, shared=True)))
    for _ in range(20):
        await transport.handle_async_request(get())
    budget.withdraw()
    for wait, times in ((0.125, 100), (4.0, 2)):
        inner.steps = [fail(wait)]
        for _ in range(times):
            with pytest.raises(httpx.ReadTimeout):
                await transport.handle_async_request(get())
    budget.deposit()
    assert await delay_after(transport, clock, "https://api.test/") == 4.0


@asynchronous
async def test_what_the_second_attempt_saved_is_not_forgotten(
    clock: Clock, measured: Callable[..., HedgingTransport]
) -> None:
    """A first attempt that lost counts as slow, or the delay would shrink with each hedge."""
    inner = Latencies(clock, 0.5)
    transport = measured(inner, budget=(budget := RetryBudget(1, deposit=1, refill=0, shared=True)))
    budget.withdraw()
    for _ in range(40):
        await transport.handle_async_request(get())

    async def hang(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    inner.steps = [s for _ in range(3) for s in (hang, lambda _: httpx.Response(200))]
    for _ in range(3):
        budget.deposit()
        await transport.handle_async_request(get())
    percentile = transport._latencies.obtain(("https", b"api.test", None))  # noqa: SLF001 - our own
    assert len(percentile) == 43
    assert clock.sleeps == [0.5, 0.5, 0.5]
    assert percentile.value == 0.5


@asynchronous
async def test_only_so_many_origins_are_remembered(
    clock: Clock, measured: Callable[..., HedgingTransport]
) -> None:
    """A client that asks many origins once does not fill the memory."""
    transport = measured(Latencies(clock, 0.5))
    for number in range(1200):
        await transport.handle_async_request(get(f"https://n{number}.test/"))
    assert len(transport._latencies) == 1000  # noqa: SLF001 - our own


# With other layers


@asynchronous
async def test_a_second_attempt_that_is_refused_does_not_spoil_the_first(clock: Clock) -> None:
    """An open circuit refuses it while the first is in flight; the first response counts."""
    breaker = CircuitBreaker(1, 30, clock=clock)
    call = Call(lambda flights: CircuitBreakerTransport(flights, breaker=breaker, listener=None))
    async with call.under_way(hedged=False):
        breaker.record_failure()
        call.timer.set()
        await turns()
        assert call.ended is None
        call.flights[0].land(200)
    assert call.shows() == 200
    assert call.events.names == ["request_hedged"]
    assert breaker.state is CircuitState.OPEN  # what began before it opened changes nothing


@asynchronous
async def test_a_probe_that_loses_gives_its_place_back(clock: Clock) -> None:
    """It has no verdict, nor has the attempt that was refused beside it."""
    breaker = CircuitBreaker(1, 30, clock=clock)
    breaker.record_failure()
    clock.advance(30)
    call = Call(lambda flights: CircuitBreakerTransport(flights, breaker=breaker, listener=None))
    async with call.under_way():
        assert len(call.flights) == 1  # the second was refused: one probe at a time
        assert not breaker.can_execute()
        call.scope.cancel()
    assert breaker.can_execute()
    assert breaker.state is CircuitState.HALF_OPEN


@asynchronous
async def test_a_loser_says_nothing_of_the_service(clock: Clock) -> None:
    """The breaker counts only the winner's success, and stays closed."""
    breaker = CircuitBreaker(2, 30, clock=clock)
    breaker.record_failure()
    call = Call(lambda flights: CircuitBreakerTransport(flights, breaker=breaker, listener=None))
    async with call.under_way():
        call.flights[1].land(200)
    assert call.flights[0].cancelled
    assert breaker.failure_count == 1
    assert isinstance(call.ended, httpx.Response)
    await call.ended.aread()
    assert breaker.failure_count == 0
    assert GATE not in call.request.extensions


@asynchronous
async def test_retries_outside_see_the_gate(clock: Clock, events: Events) -> None:
    """A circuit that the failures of both attempts opened ends the call without a wait."""
    breaker = CircuitBreaker(2, 30, clock=clock)
    call = Call(lambda flights: CircuitBreakerTransport(flights, breaker=breaker, listener=None))
    top: Any = RetryTransport(call.transport, sleep=clock.sleep, listener=events)
    call.transport = top
    async with call.under_way():
        call.flights[0].land(httpx.ReadError)
        await turns()
        call.flights[1].land(503)
    assert call.shows() is httpx.ReadError
    assert breaker.state is CircuitState.OPEN
    assert events.names == ["retry_stopped"]
    assert clock.sleeps == []
    assert GATE not in call.request.extensions


# Cancellation, interrupts, references


@asynchronous
@pytest.mark.parametrize("hedged", [False, True])
async def test_a_call_that_is_cancelled_cancels_both(*, hedged: bool) -> None:
    """The call itself ends as cancelled."""
    call = Call()
    async with call.under_way(hedged=hedged):
        call.scope.cancel()
    assert call.scope.cancelled_caught
    assert call.ended is None
    assert [flight.cancelled for flight in call.flights] == [True] * (1 + hedged)


@asynchronous
@pytest.mark.parametrize("landing", list(itertools.product([None, 200, 503], repeat=2)))
@pytest.mark.parametrize("late", range(4))
async def test_a_call_that_is_cancelled_as_it_is_answered(
    landing: tuple[int | None, int | None], late: int
) -> None:
    """Either the caller gets the answer, or nothing stays open."""
    call = Call()
    async with call.under_way():
        for flight, status in zip(call.flights, landing, strict=True):
            if status is not None:
                flight.land(status)
        for _ in range(late):
            await anyio.lowlevel.checkpoint()
        call.scope.cancel()
    assert call.leaked == []


@asynchronous
async def test_the_winner_is_not_lost_when_the_release_of_the_loser_is_cancelled() -> None:
    """Both responses are closed in this case."""
    call = Call()
    waiting = anyio.Event()

    async def stall() -> None:
        waiting.set()
        await anyio.sleep_forever()

    class Stalling(Body):
        async def chunks(self) -> AsyncGenerator[bytes, None]:
            await stall()
            yield b""

    async with call.under_way():
        call.flights[0].body = Stalling()
        call.flights[0].land(503)
        await turns()
        call.flights[1].land(200)
        await waiting.wait()
        call.scope.cancel()
    assert call.ended is None
    assert [flight.body.closes for flight in call.flights] == [1, 1]


class Steps:
    """Counts checkpoints; at checkpoint number `cancel_at` the call is cancelled."""

    def __init__(self, cancel_at: int) -> None:
        self.scope = anyio.CancelScope()
        self.taken = 0
        self._cancel_at = cancel_at

    async def __call__(self) -> None:
        self.taken += 1
        if self.taken == self._cancel_at:
            self.scope.cancel()
        await anyio.lowlevel.checkpoint()


class Stepwise(httpx.AsyncBaseTransport):
    """Counts what is open, and takes a step at every checkpoint."""

    def __init__(self, steps: Steps, *statuses: int) -> None:
        self.steps = steps
        self.statuses = list(statuses)
        self.sending = 0
        self.open: list[StepwiseBody] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        status = self.statuses.pop(0)
        self.sending += 1
        try:
            for _ in range(4):
                await self.steps()
        finally:
            self.sending -= 1
        if status == 0:
            raise httpx.ReadError("scripted")
        body = StepwiseBody(self)
        self.open.append(body)
        return httpx.Response(status, stream=body)


class StepwiseBody(Body):
    """A body whose reading and closing can be interrupted."""

    def __init__(self, pool: Stepwise) -> None:
        super().__init__(b"half", b"half")
        self._pool = pool

    async def aclose(self) -> None:
        await super().aclose()
        await self._pool.steps()
        if self in self._pool.open:
            self._pool.open.remove(self)


@asynchronous
@pytest.mark.parametrize("statuses", list(itertools.product([200, 503, 0], repeat=2)))
async def test_a_call_can_be_cancelled_at_every_await(statuses: tuple[int, int]) -> None:
    """No attempt continues and nothing stays open, wherever it was cancelled."""
    total = cancelled = 0
    while cancelled == total:
        total += 1
        steps = Steps(total)
        inner = Stepwise(steps, *statuses)

        async def sleep(_: float, steps: Steps = steps) -> None:
            await steps()

        transport = HedgingTransport(inner, 0.1, sleep=sleep, listener=None)
        with steps.scope, contextlib.suppress(httpx.ReadError):
            response = await transport.handle_async_request(get())
            with anyio.CancelScope(shield=True):
                await response.aclose()
            await anyio.lowlevel.checkpoint()
        cancelled += steps.scope.cancelled_caught
        assert inner.open == []
        assert inner.sending == 0
    assert total > 5


@asynchronous
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("landing", [False, True])
async def test_a_cancellation_of_asyncio_itself(*, landing: bool) -> None:
    """It propagates, even if an answer arrives at the same moment."""
    call = Call()
    async with call.under_way():
        task = asyncio.ensure_future(call.transport.handle_async_request(get()))
        await turns()
        if landing:
            call.flights[3].land(200)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.flights[2].cancelled
        call.flights[0].land(200)
    assert call.leaked == []


@asynchronous
async def test_an_interrupt_comes_out_by_itself() -> None:
    """It is not wrapped in an exception group, and nothing stays open."""

    async def interrupted(_: httpx.Request) -> httpx.Response:
        await turns()
        raise KeyboardInterrupt

    transport = HedgingTransport(Scripted(interrupted, 200), 0.1, listener=None)
    with pytest.raises(KeyboardInterrupt):
        await transport.handle_async_request(get())


@asynchronous
async def test_a_timer_that_fails_comes_out_by_itself() -> None:
    """Its exception is raised without a group, and has no group as its context."""

    class NoTimerError(Exception):
        pass

    async def broken(_: float) -> None:
        raise NoTimerError

    call = Call()
    transport = HedgingTransport(call.flights, 0.1, sleep=broken, listener=None)
    with without_gc():
        try:
            await transport.handle_async_request(get())
        except NoTimerError as error:
            died, context = weakref.ref(error), error.__context__
        assert died() is None
        assert context is None
    assert call.flights[0].cancelled


@asynchronous
@pytest.mark.parametrize("hedged", [False, True])
async def test_what_was_raised_is_not_kept_alive(*, hedged: bool) -> None:
    """No frame in its traceback refers to it, so no request waits for the garbage collector."""

    async def reset(_: httpx.Request) -> httpx.Response:
        await (turns() if hedged else anyio.lowlevel.checkpoint())
        raise httpx.ReadError("reset")

    async def sleep(_: float) -> None:
        if not hedged:
            await anyio.sleep_forever()

    transport = HedgingTransport(Scripted(reset), 0.1, sleep=sleep, listener=None)
    with without_gc():
        try:
            await transport.handle_async_request(get())
        except httpx.ReadError as error:
            died, context = weakref.ref(error), error.__context__
        assert died() is None
        assert context is None


# Arguments


def test_it_shows_what_is_inside() -> None:
    """It also shows when it sends a second attempt."""
    inner = Scripted(200)
    assert repr(HedgingTransport(inner)) == "HedgingTransport(Scripted(), delay='p95')"
    assert repr(HedgingTransport(inner, 0.5)) == "HedgingTransport(Scripted(), delay=0.5)"
    assert repr(HedgingTransport()) == "HedgingTransport(HTTPTransport(), delay='p95')"


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"delay": "p99"}, ValueError, "delay"),
        ({"delay": -1}, ValueError, "delay"),
        ({"delay": math.inf}, ValueError, "delay"),
        ({"delay": math.nan}, ValueError, "delay"),
        ({"delay": None}, TypeError, "delay"),
        ({"methods": "GET"}, TypeError, "methods"),
        ({"methods": None}, TypeError, "methods"),
        ({"methods": {1}}, TypeError, "methods"),
        ({"budget": 10}, TypeError, "budget"),
        ({"key": "origin"}, TypeError, "key"),
        ({"statuses": {999}}, ValueError, "statuses"),
        ({"statuses": 503}, TypeError, "statuses"),
        ({"clock": 0.0}, TypeError, "clock"),
        ({"sleep": 1}, TypeError, "sleep"),
    ],
)
def test_bad_input_is_refused(options: Any, error: type[Exception], name: str) -> None:  # noqa: ANN401 - bad input
    """It is refused when it is given, by name."""
    with pytest.raises(error, match=name):
        HedgingTransport(Scripted(200), **options)


@asynchronous
async def test_what_passes_straight_through_costs_one_frame() -> None:
    """The inner transport gets the same request, and the caller gets the same response."""
    response = httpx.Response(200)
    inner = Scripted(response)
    request = post()
    assert await HedgingTransport(inner, 0.1).handle_async_request(request) is response
    assert inner.requests == [request]


# What a response means for other layers


@asynchronous
@pytest.mark.parametrize(("failure", "winner"), [(True, 2), (False, 1), (None, 1)])
async def test_a_classifier_says_which_response_is_good(
    clock: Clock, *, failure: bool | None, winner: int
) -> None:
    """A 200 that carries an error does not win over the other attempt."""
    second_began = anyio.Event()

    async def first(_: httpx.Request) -> httpx.Response:
        await second_began.wait()
        return httpx.Response(200, extensions={"number": 1})

    async def second(_: httpx.Request) -> httpx.Response:
        second_began.set()
        await anyio.wait_all_tasks_blocked()
        return httpx.Response(200, extensions={"number": 2})

    def classify(outcome: classification.Outcome) -> Classification | None:
        is_first = outcome.response is not None and outcome.response.extensions["number"] == 1
        return Classification(failure=failure) if is_first else None

    transport = HedgingTransport(
        Scripted(first, second), 1, classify=classify, sleep=clock.sleep, listener=None
    )
    response = await transport.handle_async_request(get())
    assert response.extensions["number"] == winner


# Upgrades, closings and transports that cancel in their own way


@asynchronous
async def test_a_request_for_an_upgrade_is_sent_once(clock: Clock) -> None:
    """A second WebSocket would be a second session."""
    inner = Scripted(200)
    transport = HedgingTransport(inner, 0.0, sleep=clock.sleep, listener=None)
    await transport.handle_async_request(get(headers={"Upgrade": "websocket"}))
    assert len(inner.requests) == 1
    assert clock.sleeps == []


@asynchronous
async def test_nothing_is_hedged_after_the_closing() -> None:
    """An attempt in flight continues, and no second one is started."""
    call = Call()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call.run)
        await turns()
        await call.transport.aclose()
        call.timer.set()
        await turns()
        assert len(call.flights) == 1
        call.flights[0].land(200)
    assert isinstance(call.ended, httpx.Response)


class Stubborn(httpx.AsyncBaseTransport):
    """Raises its own CancelledError when it is cancelled, and answers the second request."""

    def __init__(self) -> None:
        self.requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.requests > 1:
            return httpx.Response(200)
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            raise asyncio.CancelledError from None
        raise AssertionError(request)  # pragma: no cover


@asynchronous
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_foreign_cancellation_of_the_loser_does_not_cancel_the_caller() -> None:
    """The winner's response is returned, and the task continues."""
    transport = HedgingTransport(Stubborn(), 0.01, listener=None)
    with anyio.fail_after(1):
        assert (await transport.handle_async_request(get())).status_code == 200
        await anyio.lowlevel.checkpoint()


@asynchronous
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_cancellation_of_a_hedged_call_is_obeyed() -> None:
    """The caller's own cancellation, too, may arrive as a foreign CancelledError."""
    transport = HedgingTransport(Stubborn(), 60, listener=None)
    task = asyncio.ensure_future(transport.handle_async_request(get()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@asynchronous
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_is_obeyed_although_a_function_raises() -> None:
    """The key raises for the second attempt in the step in which the caller cancels."""
    calls = itertools.count()

    def key(_: httpx.Request) -> str:
        if next(calls):
            task.cancel()
            raise ZeroDivisionError
        return "key"

    transport = HedgingTransport(Stubborn(), 0.0, key=key, listener=None)
    task = asyncio.ensure_future(transport.handle_async_request(get()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@asynchronous
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_is_obeyed_although_the_clock_raises() -> None:
    """An exception of the clock while a latency is noted does not replace the cancellation."""
    calls = itertools.count()

    def clock() -> float:
        if next(calls):
            raise ZeroDivisionError
        return 0.0

    transport = HedgingTransport(Stubborn(), "p95", clock=clock, listener=None)
    task = asyncio.ensure_future(transport.handle_async_request(get()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@asynchronous
async def test_a_mistake_of_the_inner_transport_in_a_plain_request_comes_out() -> None:
    """An AssertionError unrelated to the families of httpx is raised unchanged."""
    transport = HedgingTransport(Scripted(AssertionError("a bug")), listener=None)
    with pytest.raises(AssertionError, match="a bug"):
        await transport.handle_async_request(post())
