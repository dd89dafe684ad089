import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import httpx
import httpx2
import pytest

from tests.support import Body, Clock, Endless, Events, Failing, Scripted, Step, get, until
from walltrack import (
    AdaptiveLimit,
    Backoff,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    ConcurrencyLimitError,
    ConcurrencyLimitTransport,
    Event,
    RejectReason,
    RequestAdmitted,
    RequestRejected,
    RetryPolicy,
    RetryTransport,
    TransportClosedError,
)
from walltrack.core.classification import Classification
from walltrack.core.extensions import DEADLINE
from walltrack.core.naming import origin_of

pytestmark = pytest.mark.anyio

URL = "https://api.test/things"


class Desk(httpx.AsyncBaseTransport):
    """Notes the requests and how many are in flight, and answers each when `tell` names it."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.here = 0
        self.most = 0
        self.told: dict[str, anyio.Event] = {}
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(200)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.strip("/")
        self.came.append(name)
        self.here += 1
        self.most = max(self.most, self.here)
        try:
            await self.told.setdefault(name, anyio.Event()).wait()
        finally:
            self.here -= 1
        return self.answer()

    def tell(self, *names: str) -> None:
        """Answer these requests, now or when they arrive."""
        for name in names:
            self.told.setdefault(name, anyio.Event()).set()


class Callers:
    """Tasks that send one request each, and the result of each."""

    def __init__(self, transport: httpx.AsyncBaseTransport, tasks: anyio.abc.TaskGroup) -> None:
        self.transport = transport
        self.tasks = tasks
        self.ended: dict[str, httpx.Response | Exception] = {}
        self.scopes: dict[str, anyio.CancelScope] = {}

    async def come(self, *names: str, **extensions: object) -> None:
        """Have these callers send their requests, one after the other."""
        for name in names:
            self.scopes[name] = anyio.CancelScope()
            self.tasks.start_soon(self._ask, name, extensions)
            await anyio.wait_all_tasks_blocked()

    async def _ask(self, name: str, extensions: dict[str, object]) -> None:
        request = get(f"https://api.test/{name}", extensions=dict(extensions))
        with self.scopes[name]:
            try:
                self.ended[name] = await self.transport.handle_async_request(request)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
                self.ended[name] = error

    async def cancel(self, *names: str) -> None:
        """Cancel these callers all at once."""
        for name in names:
            self.scopes[name].cancel()
        await anyio.wait_all_tasks_blocked()


@asynccontextmanager
async def office(limit: int = 1, **options: Any) -> AsyncIterator[tuple[Desk, Callers]]:  # noqa: ANN401 - handed on
    """A desk behind a limit, and callers; at the end no permit is taken and the queue is empty."""
    desk = Desk()
    transport = ConcurrencyLimitTransport(desk, limit, **{"listener": None, **options})
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            yield desk, Callers(transport, tasks)
    assert desk.most <= limit
    assert at_rest(transport)


def at_rest(transport: ConcurrencyLimitTransport) -> bool:
    """Whether every permit is back and the queue is empty."""
    return "<0 of " in repr(transport) and ", 0 waiting>" in repr(transport)


def layer(*steps: Step, limit: Any = 1, **options: Any) -> ConcurrencyLimitTransport:  # noqa: ANN401 - handed on
    """The transport under test over a script."""
    return ConcurrencyLimitTransport(Scripted(*steps), limit, **{"listener": None, **options})


def streamed(*chunks: bytes | BaseException) -> httpx.Response:
    """A response whose body has still to be read."""
    return httpx.Response(200, stream=Body(*chunks))


class Left:
    """A deadline with `seconds` left."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def remaining(self) -> float:
        return self.seconds


def no_timer(seconds: float) -> anyio.CancelScope:
    """A timer that must not be started."""
    raise AssertionError(seconds)


# Turns


async def test_so_many_are_under_way_and_no_more() -> None:
    """The others wait until one is finished."""
    async with office(limit=2, timer=no_timer) as (desk, callers):
        await callers.come("a", "b", "c", "d")
        assert desk.came == ["a", "b"]
        desk.tell("b")
        await anyio.wait_all_tasks_blocked()
        assert desk.came == ["a", "b", "c"]
        desk.tell("a", "c", "d")


async def test_a_hundred_have_their_turns_in_the_order_in_which_they_came() -> None:
    """First come, first served."""
    names = [str(number) for number in range(100)]
    async with office() as (desk, callers):
        await callers.come(*names)
        desk.tell(*names)
    assert desk.came == names


async def test_no_caller_overtakes_one_that_waits() -> None:
    """A permit that is given back is not free for a caller that arrives at this moment."""
    async with office() as (desk, callers):
        await callers.come("holder", "waiter")

        async def come_at_once() -> None:
            desk.tell("holder")
            while desk.here:
                await anyio.lowlevel.checkpoint()
            await callers.transport.handle_async_request(get("https://api.test/newcomer"))

        desk.tell("newcomer", "waiter")
        callers.tasks.start_soon(come_at_once)
    assert desk.came == ["holder", "waiter", "newcomer"]


class Crowded:
    """A server with random results; a stream counts as in flight until its body is closed."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.here = self.most = 0

    async def __call__(self, _: httpx.Request) -> httpx.Response:
        self.here += 1
        self.most = max(self.most, self.here)
        response: httpx.Response | None = None
        try:
            for _turn in range(self.rng.randrange(4)):
                await anyio.lowlevel.checkpoint()
            response = self.respond()
        finally:
            if response is None or response.is_closed:
                self.here -= 1
        return response

    def respond(self) -> httpx.Response:
        """An exception, a response, a stream, or one that is cut."""
        kind = self.rng.randrange(5)
        if kind == 0:
            raise httpx.ReadError("broken")
        if kind == 1:
            return httpx.Response(200)
        cut = [httpx.ReadError("cut")] if kind == 2 else []
        return httpx.Response(200, stream=Counted(self, b"one", *cut, b"two"))


class Counted(Body):
    """A body that is no longer counted once it is closed."""

    def __init__(self, server: Crowded, *chunks: bytes | BaseException) -> None:
        super().__init__(*chunks)
        self.server = server

    async def aclose(self) -> None:
        self.server.here -= not self.closes
        await super().aclose()


async def visit(transport: httpx.AsyncBaseTransport, rng: random.Random) -> None:
    """Send a request, perhaps read the response, and close it."""
    try:
        response = await transport.handle_async_request(get())
        try:
            if rng.random() < 0.7:
                await response.aread()
        finally:
            await response.aclose()
    except (httpx.ReadError, TransportClosedError):
        pass


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_hundreds_of_callers_never_exceed_the_limit_and_all_have_their_turn(
    seed: int,
) -> None:
    """Whether they succeed, fail, break off, are cancelled or are ended by closing."""
    rng = random.Random(seed)  # noqa: S311 - a race is no secret
    server = Crowded(rng)
    transport = layer(server, limit=7)
    done = 0

    async def call() -> None:
        nonlocal done
        with anyio.CancelScope() as scope:
            if rng.random() < 0.3:
                tasks.start_soon(cancel_after, scope, rng.randrange(60))
            await visit(transport, rng)
        done += 1

    async def cancel_after(scope: anyio.CancelScope, turns: int) -> None:
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        scope.cancel()

    async def close_now_and_then() -> None:
        for _ in range(5):
            for _turn in range(rng.randrange(40)):
                await anyio.lowlevel.checkpoint()
            await transport.aclose()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close_now_and_then)
            for _ in range(300):
                tasks.start_soon(call)
    assert done == 300
    assert server.most == 7
    assert server.here == 0
    assert at_rest(transport)


# A permit is held until the response is closed


async def test_a_permit_is_held_until_the_body_is_closed() -> None:
    """A streamed response stays in flight before, during and after the reading."""
    async with office() as (desk, callers):
        desk.answer = lambda: streamed(b"one", b"two")
        desk.tell("a", "b")
        await callers.come("a", "b")
        response = callers.ended["a"]
        assert isinstance(response, httpx.Response)
        chunks = response.aiter_raw()
        await anext(chunks)
        await anyio.wait_all_tasks_blocked()
        assert desk.came == ["a"]
        assert [chunk async for chunk in chunks] == [b"two"]
        await anyio.wait_all_tasks_blocked()
        assert desk.came == ["a", "b"]
        other = callers.ended["b"]
        assert isinstance(other, httpx.Response)
        await other.aclose()


async def test_an_unread_response_gives_its_permit_back_when_it_is_closed() -> None:
    """Not before, and only once, however often it is closed."""
    transport = layer(lambda _: streamed(b"body"), limit=2)
    one, two = [await transport.handle_async_request(get()) for _ in range(2)]
    await one.aclose()
    await one.aclose()
    await one.stream.aclose()  # type: ignore[union-attr]  # this one is asynchronous
    assert "<1 of 2 in flight" in repr(transport)
    await two.aclose()
    assert at_rest(transport)


async def test_a_body_that_is_there_already_needs_no_closing() -> None:
    """A response without a stream is finished when it arrives."""
    transport = layer(200)
    for _ in range(3):
        await transport.handle_async_request(get())
    assert at_rest(transport)


async def test_a_body_that_breaks_off_gives_its_permit_back() -> None:
    """A client closes a body that breaks off."""
    transport = layer(lambda _: streamed(b"one", httpx.ReadError("cut")))
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(3):
            with pytest.raises(httpx.ReadError):
                await client.get(URL)
    assert at_rest(transport)


async def test_a_reader_that_leaves_early_gives_the_permit_back() -> None:
    """Closing is enough, wherever the reader stopped."""
    transport = layer(lambda _: httpx.Response(200, stream=Endless()))
    for _ in range(3):
        response = await transport.handle_async_request(get())
        body: Any = response.stream
        await anext(aiter(body))
        await response.aclose()
    assert at_rest(transport)


async def test_a_reader_that_is_cancelled_gives_the_permit_back() -> None:
    """This holds in the middle of a body, too."""

    class Stuck(Body):
        async def chunks(self) -> AsyncGenerator[bytes, None]:
            yield b"one"
            await anyio.sleep_forever()

    transport = layer(lambda _: httpx.Response(200, stream=Stuck()))
    async with httpx.AsyncClient(transport=transport) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.get, URL)
        await anyio.wait_all_tasks_blocked()
        assert "<1 of 1 in flight" in repr(transport)
        tasks.cancel_scope.cancel()
    assert at_rest(transport)


async def test_a_closing_that_is_cancelled_or_fails_gives_the_permit_back() -> None:
    """The connection is lost, but the place is free."""

    class Stuck(Body):
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    class Failing(Body):
        async def aclose(self) -> None:
            raise httpx.CloseError("broken")

    transport = layer(httpx.Response(200, stream=Stuck()), httpx.Response(200, stream=Failing()))
    response = await transport.handle_async_request(get())
    with anyio.move_on_after(0.01):
        await response.aclose()
    assert at_rest(transport)
    response = await transport.handle_async_request(get())
    with pytest.raises(httpx.CloseError):
        await response.aclose()
    assert at_rest(transport)


@pytest.mark.parametrize("error", [httpx.ConnectError, RuntimeError, KeyboardInterrupt])
async def test_a_call_that_fails_gives_its_permit_back(error: type[BaseException]) -> None:
    """The exception propagates unchanged."""
    raised = error("broken")
    transport = layer(raised)
    for _ in range(3):
        with pytest.raises(error) as caught:
            await transport.handle_async_request(get())
        assert caught.value is raised
    assert at_rest(transport)


async def test_a_call_that_is_cancelled_gives_its_permit_back() -> None:
    """The next waiting caller is admitted at once."""
    async with office() as (desk, callers):
        await callers.come("a", "b")
        await callers.cancel("a")
        assert desk.came == ["a", "b"]
        desk.tell("b")


async def test_beneath_retries_a_small_body_holds_its_permit_until_it_is_closed() -> None:
    """It is read ahead, and closed by its reader; responses that are retried are released."""

    def answer(status: int) -> Step:
        return lambda _: httpx.Response(status, headers={"content-length": "2"}, stream=Body(b"ok"))

    transport = layer(answer(503), answer(503), answer(200))
    policy = RetryPolicy(backoff=Backoff(base=0.0))
    top = RetryTransport(transport, policy=policy, listener=None)
    with anyio.fail_after(10):
        response = await top.handle_async_request(get())
    assert response.extensions["walltrack.attempts"] == 3
    assert "<1 of 1 in flight" in repr(transport)
    await response.aread()
    assert at_rest(transport)


# Cancelled in the queue


@pytest.mark.parametrize("position", range(5))
async def test_a_caller_that_waits_can_be_cancelled_at_any_position(position: int) -> None:
    """The caller leaves the queue, and the others keep their order."""
    names = ["a", "b", "c", "d", "e"]
    gone = names.pop(position)
    async with office() as (desk, callers):
        await callers.come("holder", "a", "b", "c", "d", "e")
        await callers.cancel(gone)
        desk.tell("holder", *names)
    assert desk.came == ["holder", *names]
    assert gone not in callers.ended


async def test_all_callers_that_wait_can_be_cancelled_at_once() -> None:
    """The queue is empty, and the next caller is admitted."""
    async with office() as (desk, callers):
        await callers.come("holder", *"abcdefgh")
        await callers.cancel(*"abcdefgh")
        assert ", 0 waiting>" in repr(callers.transport)
        await callers.come("next")
        desk.tell("holder", "next")
    assert desk.came == ["holder", "next"]


async def test_a_caller_that_is_cancelled_at_its_turn_passes_the_permit_on() -> None:
    """The next caller in the queue gets it."""
    async with office() as (desk, callers):
        desk.answer = lambda: streamed(b"body")
        desk.tell("holder", "a", "b")
        await callers.come("holder", "a", "b")
        held = callers.ended["holder"]
        assert isinstance(held, httpx.Response)
        await held.aclose()  # calls "a", which has not run since
        callers.scopes["a"].cancel()
        await anyio.wait_all_tasks_blocked()
        assert desk.came in (["holder", "b"], ["holder", "a", "b"])
        for name in ("a", "b"):
            if isinstance(response := callers.ended.get(name), httpx.Response):
                await response.aclose()
        await anyio.wait_all_tasks_blocked()
        response = callers.ended["b"]
        assert isinstance(response, httpx.Response)
        await response.aclose()


async def test_a_coroutine_that_is_thrown_away_in_the_queue_leaves_it() -> None:
    """An event loop that shuts down ends a coroutine in this way."""
    async with office() as (desk, callers):
        await callers.come("holder")
        thrown = callers.transport.handle_async_request(get())
        with anyio.CancelScope() as scope:
            scope.cancel()
            await thrown
        assert ", 0 waiting>" in repr(callers.transport)
        desk.tell("holder")


# Refusals


async def test_a_full_queue_refuses(events: Events) -> None:
    """The call fails at once, with an event and a reason that contain no secret."""
    async with office(max_queue=2, listener=events) as (desk, callers):
        await callers.come("holder", "a", "b", "c?api-key=hunter2")
        error = callers.ended["c?api-key=hunter2"]
        desk.tell("holder", "a", "b")
    assert isinstance(error, ConcurrencyLimitError)
    assert isinstance(error, httpx.TransportError)
    assert error.waited == 0.0
    assert error.request.url.path == "/c"
    assert str(error) == (
        "api.test: concurrency limit reached and the queue is full, request not sent"
    )
    assert events[0] == RequestRejected("api.test", "GET", "/c", RejectReason.QUEUE_FULL)
    assert "hunter2" not in repr(events)
    assert desk.came == ["holder", "a", "b"]


async def test_a_request_that_waited_is_reported_when_it_is_sent(
    clock: Clock, events: Events
) -> None:
    """With its waiting time; a call that did not wait or is rejected reports no admission."""
    async with office(listener=events, clock=clock, max_queue=1) as (desk, callers):
        await callers.come("holder", "a?api-key=hunter2", "rejected")
        clock.advance(2.5)
        desk.tell("holder", "a")
        await anyio.wait_all_tasks_blocked()
    assert events == [
        RequestRejected("api.test", "GET", "/rejected", RejectReason.QUEUE_FULL),
        RequestAdmitted("api.test", "GET", "/a", 2.5, "concurrency_limit"),
    ]


async def test_a_wait_that_a_standing_clock_does_not_measure_is_no_full_queue(clock: Clock) -> None:
    """The error says that there was no permit in time, not that the queue was full."""
    async with office(clock=clock, queue_timeout=0.01) as (desk, callers):
        await callers.come("holder", "late")
        await until(lambda: "late" in callers.ended)
        desk.tell("holder")
    error = callers.ended["late"]
    assert isinstance(error, ConcurrencyLimitError)
    assert error.waited > 0.0
    assert "full" not in str(error)


async def test_a_listener_that_ends_the_program_after_a_wait_leaves_no_permit_taken() -> None:
    """The request is not sent, and gives its permit back."""

    class StoppedError(BaseException):
        """An exception that ends the program."""

    def stop(_: Event) -> None:
        raise StoppedError

    desk = Desk()
    transport = ConcurrencyLimitTransport(desk, 1, listener=stop)
    async with anyio.create_task_group() as tasks:
        callers = Callers(transport, tasks)
        await callers.come("holder")
        tasks.start_soon(desk_is_free_after_all_wait, desk)
        with pytest.raises(StoppedError):
            await transport.handle_async_request(get())
    assert desk.came == ["holder"]
    assert at_rest(transport)


async def desk_is_free_after_all_wait(desk: Desk) -> None:
    """Answer the holder of the only permit once another caller waits for it."""
    await anyio.wait_all_tasks_blocked()
    desk.tell("holder")


async def test_without_a_queue_a_request_without_a_permit_is_refused() -> None:
    """`max_queue=0` is a bulkhead without waiting."""
    async with office(max_queue=0) as (desk, callers):
        await callers.come("a", "b")
        assert isinstance(callers.ended["b"], ConcurrencyLimitError)
        desk.tell("a", "c")
        await anyio.wait_all_tasks_blocked()
        await callers.come("c")
        assert isinstance(callers.ended["c"], httpx.Response)


async def test_a_caller_that_left_makes_room_in_the_queue() -> None:
    """Only callers that still wait are counted."""
    async with office(max_queue=1) as (desk, callers):
        await callers.come("holder", "a")
        await callers.cancel("a")
        await callers.come("b")
        desk.tell("holder", "b")
    assert desk.came == ["holder", "b"]


async def test_a_request_that_waits_too_long_is_refused(events: Events) -> None:
    """After `queue_timeout`, with the time that it waited; the others keep their places."""
    async with office(queue_timeout=0.02, listener=events) as (desk, callers):
        await callers.come("holder", "a")
        await until(lambda: "a" in callers.ended)
        await callers.come("b")
        desk.tell("holder", "b")
    error = callers.ended["a"]
    assert isinstance(error, ConcurrencyLimitError)
    assert error.waited >= 0.015
    assert "no turn within" in str(error)
    assert events[0] == RequestRejected("api.test", "GET", "/a", RejectReason.QUEUE_TIMEOUT)


async def test_the_wait_is_measured_by_the_clock_that_was_given(clock: Clock) -> None:
    """A test need not wait in real time."""
    asked: list[float] = []

    def timer(seconds: float) -> anyio.CancelScope:
        asked.append(seconds)
        clock.advance(seconds)
        scope = anyio.CancelScope()
        scope.cancel()
        return scope

    async with office(queue_timeout=30.0, clock=clock, timer=timer) as (desk, callers):
        await callers.come("holder", "a")
        await callers.come("b", **{DEADLINE: Left(7.0)})
        await callers.come("c", **{DEADLINE: Left(math.inf)})
        await until(lambda: len(callers.ended) == 3)
        desk.tell("holder")
    assert asked == [30.0, 7.0, 30.0]
    error = callers.ended["b"]
    assert isinstance(error, ConcurrencyLimitError)
    assert error.waited == 7.0


TIMEOUTS = [
    # pool timeout, queue_timeout and deadline; the wait, and whether it ends as a pool timeout
    ((5.0, None, math.inf), 5.0, True),
    ((5.0, 10.0, 30.0), 5.0, True),
    ((5.0, 5.0, math.inf), 5.0, True),
    ((5.0, 2.0, math.inf), 2.0, False),
    ((5.0, None, 3.0), 3.0, False),
    ((None, 10.0, math.inf), 10.0, False),
    ((0.0, 10.0, math.inf), None, True),
]


@pytest.mark.parametrize(("bounds", "waited", "as_pool_timeout"), TIMEOUTS)
async def test_the_pool_timeout_of_httpx_bounds_the_wait(
    clock: Clock,
    bounds: tuple[float | None, float | None, float],
    waited: float | None,
    as_pool_timeout: bool,  # noqa: FBT001 - a column
) -> None:
    """The limit respects the caller's own timeout; the shortest of all timeouts counts."""
    asked: list[float] = []
    pool, queue, deadline = bounds

    def timer(seconds: float) -> anyio.CancelScope:
        asked.append(seconds)
        clock.advance(seconds)
        scope = anyio.CancelScope()
        scope.cancel()
        return scope

    extensions = {"timeout": {"pool": pool}, DEADLINE: Left(deadline)}
    async with office(queue_timeout=queue, clock=clock, timer=timer) as (desk, callers):
        await callers.come("holder")
        await callers.come("late", **extensions)
        await until(lambda: "late" in callers.ended)
        desk.tell("holder")
    error = callers.ended["late"]
    assert isinstance(error, ConcurrencyLimitError)
    assert isinstance(error, httpx.PoolTimeout) is as_pool_timeout
    assert isinstance(error, httpx2.PoolTimeout) is as_pool_timeout
    assert asked == ([] if waited is None else [waited])
    assert error.waited == (waited or math.ulp(0.0))


async def test_a_full_queue_is_no_pool_timeout() -> None:
    """A call that is rejected at once is not taken for one that waited."""
    async with office(max_queue=0) as (desk, callers):
        await callers.come("holder")
        await callers.come("b", timeout={"pool": 0.0})
        assert type(callers.ended["b"]) is ConcurrencyLimitError
        desk.tell("holder")


async def test_a_pool_timeout_in_the_queue_is_a_rejection_to_other_layers() -> None:
    """It is not retried, and a circuit breaker outside does not count it: nothing was sent."""
    async with office() as (desk, callers):
        await callers.come("holder")
        breaker = CircuitBreakerTransport(callers.transport, failure_threshold=1, listener=None)
        top = RetryTransport(breaker, listener=None)
        request = get(extensions={"timeout": {"pool": 0.0}})
        for _ in range(2):  # had the breaker counted it, the second one would find it open
            with pytest.raises(httpx.PoolTimeout):
                await top.handle_async_request(request)
        desk.tell("holder")
    assert desk.came == ["holder"]


async def test_a_request_whose_turn_comes_at_the_last_moment_is_sent() -> None:
    """Its timeout has passed, but its permit was granted before."""
    scopes: list[anyio.CancelScope] = []

    def timer(_: float) -> anyio.CancelScope:
        scopes.append(anyio.CancelScope())
        return scopes[-1]

    async with office(queue_timeout=1.0, timer=timer) as (desk, callers):
        desk.answer = lambda: streamed(b"body")
        desk.tell("holder", "a")
        await callers.come("holder", "a")
        for name in ("holder", "a"):
            response = callers.ended[name]
            assert isinstance(response, httpx.Response)
            await response.aclose()
            scopes[0].cancel()
            await anyio.wait_all_tasks_blocked()
    assert desk.came == ["holder", "a"]


async def test_a_deadline_that_has_passed_leaves_no_time_to_wait(events: Events) -> None:
    """The request is refused at once, and the error does not mention a full queue."""
    async with office(listener=events, timer=no_timer) as (desk, callers):
        await callers.come("holder")
        await callers.come("late", **{DEADLINE: Left(0.0)})
        desk.tell("holder")
    error = callers.ended["late"]
    assert isinstance(error, ConcurrencyLimitError)
    assert "no turn within 0.0 s" in str(error)
    assert [event.reason for event in events if isinstance(event, RequestRejected)] == [
        RejectReason.QUEUE_TIMEOUT
    ]


async def test_a_listener_that_fails_does_not_hide_the_refusal() -> None:
    """Its exception is logged, and the caller gets the concurrency limit error."""

    def fail(event: Event) -> None:
        raise ValueError(event)

    async with office(max_queue=0, listener=fail) as (desk, callers):
        await callers.come("a", "b")
        assert isinstance(callers.ended["b"], ConcurrencyLimitError)
        desk.tell("a")


async def test_a_refusal_is_not_retried() -> None:
    """A retry at once would only make the queue longer."""
    async with office(max_queue=0) as (desk, callers):
        await callers.come("a")
        top = RetryTransport(callers.transport, listener=None)
        with pytest.raises(ConcurrencyLimitError):
            await top.handle_async_request(get())
        desk.tell("a")


# No leak, whatever is raised

RAISED = [ZeroDivisionError("a bug"), KeyboardInterrupt(), SystemExit(1)]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("works", [0, 1])
async def test_a_clock_that_raises_leaks_no_place_and_no_response(
    error: BaseException, works: int
) -> None:
    """Before the request or after its response, the exception propagates and nothing stays open."""
    body = Body(b"body")
    inner = Scripted(httpx.Response(200, stream=body), 200)
    clock = Failing(error, works)
    transport = ConcurrencyLimitTransport(inner, AdaptiveLimit(1), clock=clock, listener=None)
    with pytest.raises(type(error)) as caught:
        await transport.handle_async_request(get())
    assert caught.value is error
    assert body.closes == len(inner.requests) == works
    assert at_rest(transport)
    response = await transport.handle_async_request(get())
    await response.aclose()
    assert at_rest(transport)


async def test_a_clock_that_raises_after_a_failure_leaks_no_place() -> None:
    """The caller gets the exception of the clock, with the failure as its context."""
    down = httpx.ReadTimeout("slow")
    transport = layer(
        down, limit=AdaptiveLimit(1), clock=Failing(ZeroDivisionError("a bug"), works=1)
    )
    with pytest.raises(ZeroDivisionError) as caught:
        await transport.handle_async_request(get())
    assert caught.value.__context__ is down
    assert at_rest(transport)


async def test_a_body_that_fails_to_close_does_not_hide_what_was_raised() -> None:
    """The first exception propagates, and the place is free."""

    class Stuck(Body):
        async def aclose(self) -> None:
            raise httpx.CloseError("stuck")

    transport = layer(
        httpx.Response(200, stream=Stuck()),
        limit=AdaptiveLimit(1),
        clock=Failing(ZeroDivisionError("a bug"), works=1),
    )
    with pytest.raises(ZeroDivisionError):
        await transport.handle_async_request(get())
    assert at_rest(transport)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("hook", ["clock", "timer"])
async def test_a_hook_that_raises_in_the_queue_leaves_it(error: BaseException, hook: str) -> None:
    """No place in the queue stays occupied, so later callers are admitted."""
    failing: dict[str, Any] = {hook: Failing(error)}
    async with office(queue_timeout=9.0, **failing) as (desk, callers):
        await callers.come("holder")
        with pytest.raises(type(error)):
            await callers.transport.handle_async_request(get())
        assert ", 0 waiting>" in repr(callers.transport)
        desk.tell("holder")


@pytest.mark.parametrize("options", [{"max_queue": 0}, {"queue_timeout": 0.001}])
async def test_a_listener_that_interrupts_a_refusal_leaves_the_queue(options: Any) -> None:  # noqa: ANN401 - handed on
    """Whatever the listener raises propagates, and no place is held by the refused call."""
    async with office(listener=Failing(KeyboardInterrupt()), **options) as (desk, callers):
        await callers.come("holder")
        with pytest.raises(KeyboardInterrupt):
            await callers.transport.handle_async_request(get())
        assert ", 0 waiting>" in repr(callers.transport)
        desk.tell("holder")


async def test_a_key_that_raises_takes_no_place() -> None:
    """The exception of the caller's own function propagates, and nothing was sent."""
    inner = Scripted(200)
    key = Failing(LookupError("no such tenant"), value="tenant")
    transport = ConcurrencyLimitTransport(inner, 1, max_queue=0, key=key, listener=None)
    with pytest.raises(LookupError):
        await transport.handle_async_request(get())
    assert inner.requests == []
    assert (await transport.handle_async_request(get())).status_code == 200


# Closing


async def test_closing_ends_every_call_in_the_queue_at_once() -> None:
    """Each call raises a TransportClosedError about its own request, and sends nothing."""
    async with office() as (desk, callers):
        await callers.come("holder", "a", "b", "c", **{DEADLINE: Left(60.0)})
        await callers.transport.aclose()
        await anyio.wait_all_tasks_blocked()
        errors = [callers.ended[name] for name in "abc"]
        assert [type(error) for error in errors] == 3 * [TransportClosedError]
        assert ", 0 waiting>" in repr(callers.transport)
        desk.tell("holder")
    assert desk.came == ["holder"]


async def test_a_place_given_as_the_transport_is_closed_is_passed_on() -> None:
    """A call that got its turn but has not run yet sends nothing, and holds nothing."""
    async with office() as (desk, callers):
        desk.answer = lambda: streamed(b"body")
        desk.tell("holder", "next")
        await callers.come("holder", "a", "b")
        held = callers.ended["holder"]
        assert isinstance(held, httpx.Response)
        await held.aclose()  # gives the place to "a", which has not run since
        await callers.transport.aclose()
        await callers.come("next")
        for name in "ab":
            assert isinstance(callers.ended[name], TransportClosedError)
        response = callers.ended["next"]
        assert isinstance(response, httpx.Response)
        await response.aclose()
    assert desk.came == ["holder", "next"]


async def test_a_closed_transport_may_be_used_again_and_keeps_its_order() -> None:
    """Calls made after the closing wait for those in flight, first come, first served."""
    names = [str(number) for number in range(20)]
    async with office() as (desk, callers):
        await callers.come("holder", "ended")
        await callers.transport.aclose()
        await callers.come(*names)
        desk.tell("holder", *names)
    assert desk.came == ["holder", *names]
    assert isinstance(callers.ended["ended"], TransportClosedError)


async def test_a_call_that_was_ended_by_closing_is_not_retried() -> None:
    """A retry would send a request that the closing was to prevent."""
    async with office() as (desk, callers):
        await callers.come("holder")
        top = Callers(RetryTransport(callers.transport, listener=None), callers.tasks)
        await top.come("ended")
        await top.transport.aclose()
        await anyio.wait_all_tasks_blocked()
        assert isinstance(top.ended["ended"], TransportClosedError)
        desk.tell("holder")
    assert desk.came == ["holder"]


async def test_a_caller_cancelled_as_the_transport_is_closed_is_cancelled() -> None:
    """A cancellation by the caller is not swallowed."""
    async with office() as (desk, callers):
        await callers.come("holder", "a")
        callers.scopes["a"].cancel()
        await callers.transport.aclose()
        await anyio.wait_all_tasks_blocked()
        assert callers.scopes["a"].cancelled_caught
        assert "a" not in callers.ended
        desk.tell("holder")


# One limit for each key


async def test_by_default_all_requests_share_one_limit() -> None:
    """Whatever their origin is."""
    transport = layer(lambda _: streamed(b"body"), limit=2, max_queue=0)
    await transport.handle_async_request(get("https://one.test/"))
    await transport.handle_async_request(get("https://two.test/"))
    with pytest.raises(ConcurrencyLimitError):
        await transport.handle_async_request(get("https://three.test/"))


async def test_each_origin_can_have_a_limit_of_its_own() -> None:
    """A slow origin does not delay requests to the others."""
    transport = layer(lambda _: streamed(b"body"), max_queue=0, key=origin_of)
    held = await transport.handle_async_request(get("https://one.test/a"))
    with pytest.raises(ConcurrencyLimitError):
        await transport.handle_async_request(get("https://one.test/b"))
    await transport.handle_async_request(get("https://two.test/"))
    await held.aclose()
    await transport.handle_async_request(get("https://one.test/b"))


async def test_two_keys_on_one_origin_have_a_limit_each() -> None:
    """A key may split the requests to one origin: a slow kind of request does not delay others."""
    transport = layer(
        lambda _: streamed(b"body"), max_queue=0, key=lambda request: request.url.path
    )
    held = await transport.handle_async_request(get("https://one.test/slow"))
    with pytest.raises(ConcurrencyLimitError):
        await transport.handle_async_request(get("https://one.test/slow"))
    await transport.handle_async_request(get("https://one.test/quick"))
    await held.aclose()
    await transport.handle_async_request(get("https://one.test/slow"))


async def test_two_origins_with_one_key_share_a_limit() -> None:
    """A key may join origins: one server with two names has one limit."""
    transport = layer(
        lambda _: streamed(b"body"), max_queue=0, key=lambda request: request.headers["tenant"]
    )
    held = await transport.handle_async_request(get("https://one.test/", headers={"tenant": "a"}))
    with pytest.raises(ConcurrencyLimitError):
        await transport.handle_async_request(get("https://two.test/", headers={"tenant": "a"}))
    await transport.handle_async_request(get("https://one.test/", headers={"tenant": "b"}))
    await held.aclose()
    await transport.handle_async_request(get("https://two.test/", headers={"tenant": "a"}))


async def test_keys_are_forgotten_when_nothing_of_theirs_is_under_way() -> None:
    """A permit that is held is never granted twice, however many other keys there are."""
    transport = layer(lambda _: streamed(b"body"), max_queue=0, key=origin_of, max_keys=2)
    await transport.handle_async_request(get("https://held.test/"))
    for number in range(20):
        response = await transport.handle_async_request(get(f"https://host{number}.test/"))
        await response.aclose()
    with pytest.raises(ConcurrencyLimitError):
        await transport.handle_async_request(get("https://held.test/"))


# Adaptive


async def judged(clock: Clock, ending: Step, limit: AdaptiveLimit) -> int:
    """The limit after a window of good answers, and one whose requests end with `ending`."""

    def wait(_: httpx.Request) -> httpx.Response:
        clock.advance(0.1)
        if isinstance(ending, int):
            return httpx.Response(ending)
        assert isinstance(ending, BaseException)
        raise ending

    def good(_: httpx.Request) -> httpx.Response:
        clock.advance(0.1)
        return httpx.Response(200)

    transport = layer(*[good] * 10, wait, limit=limit, clock=clock)
    for _ in range(30):
        try:
            await transport.handle_async_request(get())
        except Exception as error:  # noqa: BLE001 - that is how it ends
            assert error is ending  # noqa: PT017 - not always
    assert at_rest(transport)
    return limit.limit


@pytest.mark.parametrize(
    "ending",
    [
        429,
        503,
        504,
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed"),
    ],
)
async def test_what_is_dropped_makes_the_limit_smaller(clock: Clock, ending: Step) -> None:
    """A drop is a request without an answer, or with one that reports overload."""
    assert await judged(clock, ending, AdaptiveLimit(8, window=0.05)) == 5


@pytest.mark.parametrize(
    "ending",
    [
        500,
        502,
        ValueError("of the caller"),
        httpx.UnsupportedProtocol(""),
        CircuitBreakerOpenError(),
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("unreachable"),
        httpx.ProxyError("down"),
        httpx.PoolTimeout("full"),
    ],
)
async def test_what_says_nothing_of_load_changes_nothing(clock: Clock, ending: Step) -> None:
    """Quick failures do not mean a quick server, and unsent requests do not count."""
    assert await judged(clock, ending, AdaptiveLimit(8, window=0.05)) == 8


async def test_a_call_that_is_cancelled_says_nothing_of_the_server() -> None:
    """The caller may have cancelled for any reason."""
    limit = AdaptiveLimit(8, window=1e-9)
    transport = layer(lambda _: anyio.sleep_forever(), limit=limit)
    for _ in range(30):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await transport.handle_async_request(get())
    assert limit.limit == 2
    assert at_rest(transport)


async def test_a_limit_that_grows_admits_waiting_requests() -> None:
    """The first callers in the queue are admitted, as many as the limit allows."""
    desk = Desk()
    limit = AdaptiveLimit(40, window=1e-9)
    transport = ConcurrencyLimitTransport(desk, limit, listener=None)
    first, rest = [f"a{n}" for n in range(10)], [f"b{n}" for n in range(60)]
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            callers = Callers(transport, tasks)
            await callers.come(*first, *rest)
            assert desk.came == first
            desk.tell(*first)
            await anyio.wait_all_tasks_blocked()
            assert set(desk.came[10:]) == set(rest[:40])  # trio has them run in any order
            desk.tell(*rest)
    assert at_rest(transport)
    assert desk.most == 40


async def test_every_key_learns_by_itself(clock: Clock) -> None:
    """With the given settings, and without changing the given limit."""

    def wait(_: httpx.Request) -> httpx.Response:
        clock.advance(0.1)
        return streamed(b"body")

    limit = AdaptiveLimit(8)
    transport = layer(wait, limit=limit, key=origin_of, clock=clock, max_queue=0)
    for _ in range(10):
        response = await transport.handle_async_request(get("https://known.test/"))
        await response.aclose()
    for _ in range(8):
        await transport.handle_async_request(get("https://known.test/"))
    for _ in range(2):
        await transport.handle_async_request(get("https://new.test/"))
    with pytest.raises(ConcurrencyLimitError):
        await transport.handle_async_request(get("https://new.test/"))
    assert limit.limit == 2


# Repr and arguments


def test_the_repr_tells_how_things_stand() -> None:
    """It shows the inner transport and the calls in flight; with keys, the limit per key."""
    inner = httpx.MockTransport(lambda _: httpx.Response(200))
    assert repr(ConcurrencyLimitTransport(inner)) == (
        "ConcurrencyLimitTransport(MockTransport(), <0 of 20 in flight, 0 waiting>)"
    )
    assert repr(ConcurrencyLimitTransport(inner, 5, key=origin_of)) == (
        "ConcurrencyLimitTransport(MockTransport(), limit=5)"
    )
    assert repr(ConcurrencyLimitTransport(inner, "adaptive", key=origin_of)) == (
        "ConcurrencyLimitTransport(MockTransport(), "
        "limit=AdaptiveLimit(20, minimum=1, maximum=100, limit=5))"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"limit": 0}, ValueError, "limit must be at least 1"),
        ({"limit": -1}, ValueError, "limit must be at least 1"),
        ({"limit": True}, TypeError, "limit must be a whole number"),
        ({"limit": 1.5}, TypeError, "limit must be a whole number"),
        ({"limit": None}, TypeError, "limit must be a whole number"),
        ({"limit": "20"}, ValueError, "limit must be one of 'adaptive'"),
        ({"max_queue": -1}, ValueError, "max_queue must be at least 0"),
        ({"max_queue": math.inf}, TypeError, "max_queue must be a whole number"),
        ({"queue_timeout": 0}, ValueError, "queue_timeout must be a finite number above 0"),
        ({"queue_timeout": math.nan}, ValueError, "queue_timeout must be a finite number above 0"),
        ({"queue_timeout": "1"}, TypeError, "queue_timeout must be a number"),
        ({"key": "origin"}, TypeError, "key must be a function"),
        ({"max_keys": 0}, ValueError, "max_keys must be at least 1"),
        ({"clock": 0.0}, TypeError, "clock must be a function"),
        ({"timer": 1.0}, TypeError, "timer must be a function"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    """An invalid argument is refused when it is given, by its name."""
    with pytest.raises(error, match=f"^{named}"):
        layer(200, **arguments)


# What responses mean


@pytest.mark.parametrize(
    ("status", "failure", "noted"),
    [
        (429, None, [True]),
        (429, False, [False]),
        (500, None, []),
        (500, False, [False]),
        (200, True, []),
        (503, True, [True]),
    ],
)
async def test_a_classifier_says_what_tells_of_overload(
    monkeypatch: pytest.MonkeyPatch, *, status: int, failure: bool | None, noted: list[bool]
) -> None:
    """An answer that is no failure counts with its latency; a quick failure does not count."""
    drops: list[bool] = []

    def note(_: object, *__: object, dropped: bool = False) -> bool:
        drops.append(dropped)
        return False

    monkeypatch.setattr(AdaptiveLimit, "note", note)
    transport = ConcurrencyLimitTransport(
        Scripted(status),
        AdaptiveLimit(),
        classify=lambda _: Classification(failure=failure),
        listener=None,
    )
    await transport.handle_async_request(get())
    assert drops == noted
