import re
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from structlog.testing import capture_logs

from tests.fleet.fake_store import FakeStore
from tests.support import Body, Clock, Events, Scripted, get
from walltrack import (
    AttemptTimeout,
    Backoff,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    Classification,
    HTTPTransport,
    Outcome,
    RateLimitError,
    RetryBudget,
    RetryPolicy,
    RetryStopped,
    StopReason,
    TimeLimitExceededError,
)
from walltrack.circuit_breaker.transport import CircuitBreakerTransport
from walltrack.concurrency_limit.adaptive import AdaptiveLimit
from walltrack.concurrency_limit.transport import ConcurrencyLimitTransport
from walltrack.hedging.transport import HedgingTransport
from walltrack.http.wrapper import WrappingTransport
from walltrack.rate_limit.transport import RateLimitTransport
from walltrack.retry.transport import RetryTransport
from walltrack.stack import resilient_transport
from walltrack.testing import VirtualTime
from walltrack.timeout.transport import TimeoutTransport
from walltrack.waiting_room.transport import WaitingRoomTransport

asynchronous = pytest.mark.anyio

A, B = "https://a.test/", "https://b.test/"

# From the outside in.
ORDER: dict[str, tuple[str, Any]] = {
    "deadline": ("TimeoutTransport", 10.0),
    "retry": ("RetryTransport", RetryPolicy(max_retries=5)),
    "hedge": ("HedgingTransport", "p95"),
    "rate_limit": ("RateLimitTransport", 10),
    "concurrency_limit": ("ConcurrencyLimitTransport", 20),
    "waiting_room": ("WaitingRoomTransport", 7.0),
    "breaker": ("CircuitBreakerTransport", CircuitBreaker()),
    "attempt_timeout": ("TimeoutTransport", 2.0),
}
EVERYTHING = {name: value for name, (_, value) in ORDER.items()}
NOTHING: dict[str, Any] = dict.fromkeys(ORDER)


class Marked(WrappingTransport):
    """A layer that is not part of the library."""


class AtWork(Scripted):
    """Counts the requests in flight, and the most that there were at once."""

    under_way = 0
    most = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await super().handle_async_request(request)
        finally:
            self.under_way -= 1


def layers(transport: httpx.AsyncBaseTransport) -> list[str]:
    """The names of the layers as `repr` shows them, from the outside in."""
    return re.findall(r"(\w+)\(", repr(transport).partition("Scripted")[0])


def open_response(*_: object) -> httpx.Response:
    """A response whose body is still to be read."""
    return httpx.Response(200, stream=Body(b"so"))


def waiting_for(
    event: anyio.Event, then: int = 200
) -> Callable[[object], Awaitable[httpx.Response]]:
    """A response that does not come before the event."""

    async def answer(_: object) -> httpx.Response:
        await event.wait()
        return httpx.Response(then)

    return answer


async def slow(_: object) -> httpx.Response:
    """A response that comes later than others."""
    await anyio.sleep(0.01)
    return httpx.Response(200)


async def never(_: object) -> httpx.Response:
    """No answer at all."""
    await anyio.sleep_forever()
    raise AssertionError  # pragma: no cover - the sleep never ends


# The order


def test_the_repr_shows_the_standard_order() -> None:
    """The layers are shown from the outside in."""
    transport = resilient_transport(Scripted(200), **EVERYTHING)
    assert layers(transport)[: len(ORDER)] == [layer for layer, _ in ORDER.values()]


@asynchronous
async def test_the_sole_retrier_marks_what_its_retries_end_with(clock: Clock) -> None:
    """`sole_retrier` is off by default, inside the deadline, and only used around retries."""
    for marked, expected in ((False, None), (True, "false")):
        options = {"deadline": 60, "sole_retrier": marked, "listener": None}
        transport = resilient_transport(Scripted(503), sleep=clock.sleep, **options)  # type: ignore[arg-type]
        assert layers(transport)[1] == ("SoleRetrier" if marked else "RetryTransport")
        response = await transport.handle_async_request(get())
        assert response.headers.get("x-should-retry") == expected
        assert response.extensions["walltrack.attempts"] == 4
    with pytest.raises(ValueError, match=r"^sole_retrier=True needs a retry="):
        resilient_transport(Scripted(200), sole_retrier=True, retry=None)
    with pytest.raises(TypeError, match=r"^sole_retrier must be a bool"):
        resilient_transport(Scripted(200), sole_retrier=1)  # type: ignore[arg-type]


def test_credentials_are_the_innermost_layer() -> None:
    """Each attempt has its own credentials, fetched within its timeout."""
    transport = resilient_transport(Scripted(200), **EVERYTHING, auth=("user", "pass"))
    expected = [*(layer for layer, _ in ORDER.values()), "AuthTransport"]
    assert layers(transport)[: len(expected)] == expected
    with pytest.raises(TypeError, match=r"^auth must be an Auth"):
        resilient_transport(Scripted(200), auth=())  # type: ignore[arg-type]


def test_the_repr_tells_the_two_time_limits_apart() -> None:
    """They have the names that errors show, too."""
    shown = repr(resilient_transport(Scripted(200), **EVERYTHING))
    assert re.findall(r"([\d.]+), name='([\w ]+)'", shown) == [
        ("2.0", "attempt timeout"),
        ("10.0", "deadline"),
    ]


def test_the_default_is_what_suits_any_service() -> None:
    """No layer has numbers that depend on the service, and none could abort a healthy call."""
    transport = resilient_transport(Scripted(200))
    assert layers(transport)[:4] == [
        "RetryTransport",
        "RateLimitTransport",
        "WaitingRoomTransport",
        "CircuitBreakerTransport",
    ]
    assert "Timeout" not in repr(transport)


@pytest.mark.parametrize(
    ("breaker", "rooms"),
    [(CircuitBreaker(), 1), (partial(CircuitBreakerTransport, key=hash), 0), (None, 0)],
)
def test_only_a_circuit_whose_key_is_known_is_waited_for_by_default(
    breaker: CircuitBreaker | None, rooms: int
) -> None:
    """A room with other keys than the breaker's would mix the callers of several circuits."""
    transport = resilient_transport(Scripted(200), breaker=breaker)
    assert layers(transport).count("WaitingRoomTransport") == rooms


@pytest.mark.parametrize("missing", list(ORDER))
def test_a_layer_that_is_left_out_is_not_there(missing: str) -> None:
    """The other layers stay, except that without a breaker there is no waiting room."""
    gone = {"breaker", "waiting_room"} if missing == "breaker" else {missing}
    transport = resilient_transport(Scripted(200), **{**EVERYTHING, missing: None})
    expected = [layer for name, (layer, _) in ORDER.items() if name not in gone]
    assert layers(transport)[: len(expected)] == expected


def test_without_any_layer_it_is_the_transport_itself() -> None:
    """There is no layer around it, and so no cost."""
    inner = Scripted(200)
    assert resilient_transport(inner, **NOTHING) is inner


@pytest.mark.parametrize("name", list(ORDER))
def test_a_function_puts_a_layer_of_its_own_in_the_place(name: str) -> None:
    """It is given the layers inside, and those outside are put around its result."""
    transport = resilient_transport(Scripted(200), **{**EVERYTHING, name: Marked})
    assert isinstance(transport, WrappingTransport)
    place = list(ORDER).index(name)
    found: Any = transport
    for _ in range(place):
        found = found._inner  # noqa: SLF001 - to see what stands where
    assert type(found) is Marked


@asynchronous
async def test_a_function_gives_a_layer_any_option(clock: Clock) -> None:
    """It can set options that `resilient_transport` does not have."""
    inner = Scripted(200)
    rate = partial(RateLimitTransport, rate=1, per=60, burst=2, clock=clock, sleep=clock.sleep)
    transport = resilient_transport(inner, rate_limit=rate)
    for _ in range(3):
        await transport.handle_async_request(get())
    assert clock.sleeps == [pytest.approx(60.0)]


@pytest.mark.parametrize("name", list(ORDER))
def test_a_function_that_returns_nothing_is_refused(name: str) -> None:
    """Otherwise the layers inside would be lost silently."""
    options: dict[str, Any] = {**EVERYTHING, name: lambda _: None}
    with pytest.raises(TypeError, match=f"^{name} must return a transport, got None"):
        resilient_transport(Scripted(200), **options)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("deadline", 0, ValueError),
        ("deadline", "10", TypeError),
        ("retry", 3, TypeError),
        ("budget", 3, TypeError),
        ("hedge", -1.0, ValueError),
        ("hedge", "p99", ValueError),
        ("hedge", [], TypeError),
        ("rate_limit", 0, ValueError),
        ("rate_limit", True, TypeError),
        ("concurrency_limit", 0, ValueError),
        ("concurrency_limit", 2.5, TypeError),
        ("concurrency_limit", "plenty", ValueError),
        ("waiting_room", 0, ValueError),
        ("waiting_room", "long", TypeError),
        ("breaker", True, TypeError),
        ("attempt_timeout", float("inf"), ValueError),
        ("attempt_timeout", False, TypeError),
        ("clock", 5, TypeError),
        ("timer", 5, TypeError),
        ("sleep", 5, TypeError),
    ],
)
def test_bad_input_is_refused_by_name(name: str, value: Any, error: type[Exception]) -> None:  # noqa: ANN401 - bad on purpose
    """The error has the name of the argument here, not that of the layer's."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(error, match=f"^{name} must be"):
        resilient_transport(Scripted(200), **options)


def test_what_names_no_transport_sends_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an inner transport, the environment's proxies are used, if there are any."""
    assert isinstance(resilient_transport(**NOTHING), HTTPTransport)
    monkeypatch.setenv("ALL_PROXY", "http://me:hunter2@proxy.test:3128")
    shown = repr(resilient_transport())
    assert "HTTPTransport(ProxyRules(all: http://proxy.test:3128))" in shown
    assert "hunter2" not in shown


def test_the_options_of_the_connection_reach_what_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the names of `HTTPTransport`; without any, its defaults hold."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test")
    assert "proxy.test" in repr(resilient_transport())
    assert "proxy.test" not in repr(resilient_transport(trust_env=False))
    assert "other.test" in repr(resilient_transport(proxy="http://other.test"))
    with pytest.raises(
        TypeError, match=r"^resilient_transport\(\) has no option verfy; it takes att"
    ):
        resilient_transport(verfy=False)  # type: ignore[call-arg]
    with pytest.raises(
        TypeError, match=r"ignore limits: .*\(transport=HTTPTransport\(limits=\.\.\."
    ):
        resilient_transport(Scripted(200), limits=httpx.Limits())
    with pytest.raises(TypeError, match=r"^limits must be a Limits"):
        resilient_transport(limits=5)  # type: ignore[arg-type]


@asynchronous
async def test_calls_wait_for_the_circuit_that_they_share() -> None:
    """One probe for all origins, and its success releases those that wait for any of them."""
    async with VirtualTime() as time:

        async def answer(_: object) -> httpx.Response:
            await time.sleep(1.0)
            return httpx.Response(200)

        inner = Scripted(503, answer)
        transport = resilient_transport(
            inner,
            retry=None,
            waiting_room=10,
            breaker=CircuitBreaker(1, 5.0, clock=time.monotonic),
            clock=time.monotonic,
            sleep=time.sleep,
            timer=time.move_on_after,
            listener=None,
        )
        await transport.handle_async_request(get(A))
        async with anyio.create_task_group() as tasks:
            for url in (A, B, B):
                tasks.start_soon(transport.handle_async_request, get(url))
        assert time.monotonic() == 5.0 + 1.0 + 1.0


@pytest.mark.parametrize("limit", ["adaptive", AdaptiveLimit()])
def test_the_limit_may_adapt(limit: Any) -> None:  # noqa: ANN401 - a name or an object
    """`"adaptive"` or an `AdaptiveLimit` with other bounds is accepted."""
    transport = resilient_transport(Scripted(200), concurrency_limit=limit)
    assert "ConcurrencyLimitTransport" in layers(transport)


# Why each stands where it stands


@asynchronous
async def test_an_open_circuit_ends_the_call_since_each_attempt_is_counted(clock: Clock) -> None:
    """The retry is outside the breaker."""
    inner = Scripted(503)
    breaker = CircuitBreaker(2)
    transport = resilient_transport(
        inner, breaker=breaker, waiting_room=None, sleep=clock.sleep, listener=None
    )
    response = await transport.handle_async_request(get())
    assert (response.status_code, len(inner.requests)) == (503, 2)
    assert len(clock.sleeps) == 1
    assert breaker.state is CircuitState.OPEN


@asynchronous
async def test_no_place_is_held_in_a_backoff() -> None:
    """The concurrency limit is inside the retry."""
    others: list[int] = []

    async def sleep(_: float) -> None:
        with anyio.fail_after(5):
            others.append((await transport.handle_async_request(get())).status_code)

    transport = resilient_transport(
        Scripted(503, 200), concurrency_limit=1, sleep=sleep, listener=None
    )
    response = await transport.handle_async_request(get())
    assert (response.status_code, others) == (200, [200])


@asynchronous
async def test_each_attempt_takes_its_turn(clock: Clock) -> None:
    """The rate limit is inside the retry: each attempt is one more request."""
    transport = resilient_transport(
        Scripted(503, 200),
        retry=RetryPolicy(backoff=Backoff(base=1.0)),
        rate_limit=0.1,
        clock=clock,
        sleep=clock.sleep,
        listener=None,
    )
    await transport.handle_async_request(get())
    assert clock.sleeps == [1.0, pytest.approx(9.0)]


@asynchronous
async def test_a_request_that_waits_for_its_turn_holds_no_permit(clock: Clock) -> None:
    """The rate limit is outside the concurrency limit."""
    others: list[int] = []

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)
        with anyio.fail_after(5):
            others.append((await transport.handle_async_request(get(B))).status_code)

    transport = resilient_transport(
        Scripted(200),
        rate_limit=1,
        concurrency_limit=partial(ConcurrencyLimitTransport, limit=1, key=lambda _: "all"),
        clock=clock,
        sleep=sleep,
    )
    for _ in range(2):
        await transport.handle_async_request(get(A))
    assert others == [200]


@asynchronous
async def test_a_request_that_waits_in_the_queue_uses_no_probe(clock: Clock) -> None:
    """The breaker's permit is taken last, so that meanwhile another call may probe."""
    breaker = CircuitBreaker(1, clock=clock)
    inner = Scripted(open_response, 200)
    shared: dict[str, Any] = {"retry": None, "breaker": breaker, "listener": None}
    transport = resilient_transport(inner, concurrency_limit=1, **shared)
    other = resilient_transport(Scripted(200), **shared)
    first = await transport.handle_async_request(get())
    breaker.record_failure()
    clock.advance(breaker.cooldown_seconds)
    async with anyio.create_task_group() as group:
        group.start_soon(transport.handle_async_request, get())
        await anyio.wait_all_tasks_blocked()
        assert len(inner.requests) == 1
        await other.handle_async_request(get())
        assert breaker.state is CircuitState.CLOSED
        await first.aclose()
    assert len(inner.requests) == 2


@asynchronous
async def test_a_request_that_leaves_the_queue_meets_the_current_circuit() -> None:
    """The breaker is inside the limits: if it opened meanwhile, nothing is sent."""
    breaker = CircuitBreaker(1)
    inner = Scripted(open_response, 200)
    transport = resilient_transport(inner, concurrency_limit=1, breaker=breaker, listener=None)
    first = await transport.handle_async_request(get())
    refused: list[Exception] = []

    async def wait_for_a_place() -> None:
        with pytest.raises(CircuitBreakerOpenError) as raised:
            await transport.handle_async_request(get())
        refused.append(raised.value)

    async with anyio.create_task_group() as group:
        group.start_soon(wait_for_a_place)
        await anyio.wait_all_tasks_blocked()
        breaker.record_failure()
        await first.aclose()
    assert (len(refused), len(inner.requests)) == (1, 1)


@asynchronous
async def test_backoffs_count_for_the_deadline(clock: Clock, events: Events) -> None:
    """The deadline is outermost, and the layers inside see the remaining time."""
    transport = resilient_transport(
        Scripted(503),
        deadline=5,
        retry=RetryPolicy(),
        clock=clock,
        sleep=clock.sleep,
        listener=events,
    )
    response = await transport.handle_async_request(get())
    assert response.status_code == 503
    assert clock.sleeps == [1.0, 2.0]
    assert isinstance(events[-1], RetryStopped)
    assert events[-1].stop_reason is StopReason.DEADLINE_TOO_CLOSE


@asynchronous
async def test_a_turn_that_comes_too_late_is_not_waited_for(clock: Clock) -> None:
    """The deadline is outside the rate limit."""
    inner = Scripted(200)
    transport = resilient_transport(
        inner, deadline=5, rate_limit=0.1, clock=clock, sleep=clock.sleep, listener=None
    )
    await transport.handle_async_request(get())
    with pytest.raises(RateLimitError):
        await transport.handle_async_request(get())
    assert (len(inner.requests), clock.sleeps) == (1, [])


@asynchronous
async def test_a_queue_counts_for_the_deadline() -> None:
    """The deadline is outside the concurrency limit."""
    transport = resilient_transport(
        Scripted(open_response), deadline=0.02, concurrency_limit=1, listener=None
    )
    await transport.handle_async_request(get())
    with anyio.fail_after(5), pytest.raises(httpx.TransportError) as raised:
        await transport.handle_async_request(get())
    assert type(raised.value).__name__ in {"TimeLimitExceededError", "ConcurrencyLimitError"}


@asynchronous
async def test_time_in_a_queue_is_not_held_against_the_service() -> None:
    """The attempt timeout is inside the concurrency limit."""
    breaker = CircuitBreaker()
    transport = resilient_transport(
        Scripted(open_response, 200), concurrency_limit=1, breaker=breaker, attempt_timeout=0.05
    )
    first = await transport.handle_async_request(get())
    answered: list[httpx.Response] = []

    async def wait_for_a_place() -> None:
        answered.append(await transport.handle_async_request(get()))

    async with anyio.create_task_group() as group:
        group.start_soon(wait_for_a_place)
        await anyio.sleep(0.07)
        await first.aclose()
    assert answered[0].extensions["walltrack.attempts"] == 1
    assert breaker.failure_count == 0


@asynchronous
async def test_an_attempt_that_takes_too_long_is_counted_and_retried() -> None:
    """The attempt timeout is inside the breaker and the retry."""
    breaker = CircuitBreaker()
    failures: list[int] = []

    async def sleep(_: float) -> None:
        failures.append(breaker.failure_count)

    transport = resilient_transport(
        Scripted(never, 200), breaker=breaker, attempt_timeout=0.01, sleep=sleep, listener=None
    )
    response = await transport.handle_async_request(get())
    assert response.extensions["walltrack.attempts"] == 2
    assert failures == [1]


@asynchronous
async def test_the_last_attempt_that_takes_too_long_says_which_limit_it_was() -> None:
    """The error has the name of the limit."""
    transport = resilient_transport(Scripted(never), retry=None, deadline=60, attempt_timeout=0.01)
    with pytest.raises(TimeLimitExceededError) as raised:
        await transport.handle_async_request(get())
    assert raised.value.limit == "attempt timeout"


@asynchronous
@pytest.mark.parametrize(("limit", "most"), [(None, 2), (1, 1)])
async def test_a_second_attempt_needs_a_place_of_its_own(limit: int | None, most: int) -> None:
    """Hedging is outside the limits, so that the service never gets more than they allow."""
    go = anyio.Event()
    inner = AtWork(waiting_for(go))

    async def sleep(_: float) -> None:
        await anyio.lowlevel.checkpoint()

    transport = resilient_transport(
        inner, hedge=0.5, concurrency_limit=limit, sleep=sleep, listener=None
    )
    async with anyio.create_task_group() as group:
        group.start_soon(transport.handle_async_request, get())
        await anyio.wait_all_tasks_blocked()
        assert inner.under_way == most
        go.set()
    assert inner.most == most


@asynchronous
async def test_what_the_second_attempt_mends_is_not_retried(clock: Clock, events: Events) -> None:
    """Hedging is inside the retry, which sees a failure only if both attempts failed."""
    go = anyio.Event()

    async def good(_: object) -> httpx.Response:
        go.set()
        await anyio.wait_all_tasks_blocked()
        return httpx.Response(200)

    inner = Scripted(waiting_for(go, 503), good)
    transport = resilient_transport(inner, hedge=0.5, sleep=clock.sleep, listener=events)
    response = await transport.handle_async_request(get())
    assert response.extensions["walltrack.attempts"] == 1
    assert events.names == ["request_hedged"]


@asynchronous
async def test_retry_asks_again_when_both_attempts_failed(clock: Clock) -> None:
    """Hedging is inside the retry."""
    go = anyio.Event()

    async def failing(_: object) -> httpx.Response:
        go.set()
        return httpx.Response(503)

    inner = Scripted(waiting_for(go, 503), failing, 200)
    transport = resilient_transport(inner, hedge=0.5, sleep=clock.sleep, listener=None)
    response = await transport.handle_async_request(get())
    assert response.extensions["walltrack.attempts"] == 2
    assert len(inner.requests) == 3


@asynchronous
async def test_each_origin_has_places_of_its_own() -> None:
    """A slow origin takes no permits from another one."""
    transport = resilient_transport(Scripted(open_response), concurrency_limit=1)
    with anyio.fail_after(5):
        first = await transport.handle_async_request(get(A))
        second = await transport.handle_async_request(get(B))
    assert first.status_code == second.status_code == 200


@asynchronous
async def test_a_failed_attempt_holds_no_place_that_the_second_waits_for() -> None:
    """Otherwise each attempt would wait for the other, until the deadline or without end."""
    go = anyio.Event()
    body = Body(b"down")

    async def fail(_: object) -> httpx.Response:
        await go.wait()
        return httpx.Response(503, stream=body)

    async def sleep(_: float) -> None:
        await anyio.lowlevel.checkpoint()

    inner = Scripted(fail, 200)
    transport = resilient_transport(
        inner, hedge=0.5, concurrency_limit=1, sleep=sleep, listener=None
    )
    answered: list[httpx.Response] = []

    async def ask() -> None:
        answered.append(await transport.handle_async_request(get()))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            go.set()
    assert [response.status_code for response in answered] == [200]
    assert body.closes == 1


# What the layers share


@asynchronous
async def test_each_stack_has_a_budget_of_its_own() -> None:
    """Each has a budget of five retries that it does not share."""
    policy = RetryPolicy(max_retries=200, backoff=Backoff(base=0.0))
    for _ in range(2):
        inner = Scripted(503)
        transport = resilient_transport(inner, retry=policy, breaker=None, listener=None)
        await transport.handle_async_request(get())
        assert len(inner.requests) == 6


@asynchronous
@pytest.mark.parametrize("status", [501, 505])
async def test_what_the_server_does_not_know_is_sent_once(clock: Clock, status: int) -> None:
    """However often such a status comes, the circuit stays closed for other requests."""
    inner = Scripted(*[status] * 10, 200)
    transport = resilient_transport(inner, sleep=clock.sleep, listener=None)
    for _ in range(10):
        assert (await transport.handle_async_request(get())).status_code == status
    assert len(inner.requests) == 10
    assert (await transport.handle_async_request(get())).status_code == 200


@asynchronous
@pytest.mark.parametrize(("budget", "attempts"), [(RetryBudget(1), 2), (None, 4)])
async def test_a_budget_can_be_chosen_or_left_out(
    clock: Clock, budget: RetryBudget | None, attempts: int
) -> None:
    """Each origin gets a budget like the given one; without one, retries are not limited."""
    inner = Scripted(503)
    transport = resilient_transport(inner, budget=budget, sleep=clock.sleep, listener=None)
    await transport.handle_async_request(get())
    assert len(inner.requests) == attempts


@asynchronous
async def test_stacks_can_share_a_budget(clock: Clock) -> None:
    """A retry of one stack takes from the budget of the other."""
    budget = RetryBudget(4, shared=True)
    for attempts in (4, 2):
        inner = Scripted(503)
        transport = resilient_transport(inner, budget=budget, sleep=clock.sleep, listener=None)
        await transport.handle_async_request(get())
        assert len(inner.requests) == attempts


@asynchronous
async def test_hedges_take_nothing_from_the_budget_of_retries(clock: Clock) -> None:
    """Otherwise many hedges at high load would leave no budget for retries."""
    go = anyio.Event()

    async def failing(_: object) -> httpx.Response:
        go.set()
        return httpx.Response(503)

    inner = Scripted(waiting_for(go, 503), failing, 200)
    budget = RetryBudget(1, shared=True)
    transport = resilient_transport(
        inner, hedge=0.5, budget=budget, sleep=clock.sleep, listener=None
    )
    response = await transport.handle_async_request(get())
    assert (response.status_code, len(inner.requests)) == (200, 3)


@asynchronous
async def test_a_dead_origin_uses_up_no_other_origins_retries(clock: Clock) -> None:
    """Each has a budget of its own, also below one transport."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503 if request.url.host != "alive.test" or len(seen) == 0 else 200)

    seen: list[str] = []
    inner = Scripted(answer)
    transport = resilient_transport(
        inner, budget=RetryBudget(1), breaker=None, sleep=clock.sleep, listener=None
    )
    for number in range(40):
        await transport.handle_async_request(get(f"https://dead{number}.test/"))
        await transport.handle_async_request(get(f"https://dead{number}.test/"))
    assert len(inner.requests) == 40 * 3
    await transport.handle_async_request(get("https://alive.test/"))
    assert len(inner.requests) == 40 * 3 + 2


@asynchronous
@pytest.mark.parametrize(
    "layer",
    [
        {"retry": RetryPolicy()},
        {"hedge": 5.0},
        {"rate_limit": 10},
        {"concurrency_limit": "adaptive"},
        {"breaker": CircuitBreaker()},
        {},
    ],
    ids=["retry", "hedge", "rate limit", "adaptive limit", "one breaker", "a breaker each"],
)
async def test_every_layer_asks_the_classifier(layer: dict[str, Any], clock: Clock) -> None:
    """This holds also if it is the only layer."""
    asked: list[int | None] = []
    transport = resilient_transport(
        Scripted(404),
        **(NOTHING | layer if layer else {"retry": None}),
        classify=lambda outcome: asked.append(outcome.status),
        clock=clock,
        sleep=clock.sleep,
        listener=None,
    )
    await transport.handle_async_request(get())
    assert asked == [404]


@asynchronous
async def test_one_classification_is_for_all_layers(clock: Clock, events: Events) -> None:
    """A 429 for "no money left" is not retried, opens no circuit, and is classified once."""
    asked: list[Outcome] = []

    def classify(outcome: Outcome) -> Classification:
        asked.append(outcome)
        return Classification(retry=False, failure=False)

    inner = Scripted(429)
    transport = resilient_transport(
        inner, classify=classify, hedge=5.0, sleep=clock.sleep, listener=events
    )
    for _ in range(10):
        assert (await transport.handle_async_request(get())).status_code == 429
    assert len(inner.requests) == 10
    assert {getattr(event, "stop_reason", None) for event in events} == {"classified_as_final"}


@asynchronous
async def test_breakers_are_one_for_each_origin_unless_one_is_given(
    clock: Clock, events: Events
) -> None:
    """The given clock measures their cooldown, and the listener gets their events."""
    inner = Scripted(503)
    transport = resilient_transport(
        inner, retry=None, waiting_room=None, clock=clock, listener=events
    )
    for _ in range(5):
        await transport.handle_async_request(get(A))
    with pytest.raises(CircuitBreakerOpenError):
        await transport.handle_async_request(get(A))
    await transport.handle_async_request(get(B))
    clock.advance(1)
    await transport.handle_async_request(get(A))
    assert events.names == [
        "circuit_opened",
        "request_rejected",
        "circuit_half_opened",
        "circuit_opened",
    ]


@asynchronous
@pytest.mark.parametrize(
    ("options", "script", "name"),
    [
        ({}, [503, 200], "retry_scheduled"),
        ({"hedge": 0.0}, [slow, 200], "request_hedged"),
        (
            {"rate_limit": 9},
            [httpx.Response(429, headers={"Retry-After": "1"})],
            "origin_throttled",
        ),
        ({"rate_limit": 0.1, "deadline": 5}, [503], "request_rejected"),
        ({"retry": RetryPolicy(max_retries=4)}, [503], "circuit_opened"),
    ],
    ids=["retry", "hedge", "rate limit", "rate limit and deadline", "breakers"],
)
async def test_every_layer_tells_the_listener(
    clock: Clock, events: Events, options: dict[str, Any], script: list[Any], name: str
) -> None:
    """Each event goes to the listener, and nothing goes to the log."""
    transport = resilient_transport(
        Scripted(*script), **options, clock=clock, sleep=clock.sleep, listener=events
    )
    with capture_logs() as logs, suppress(RateLimitError):
        await transport.handle_async_request(get())
    assert name in events.names
    assert logs == []


@asynchronous
async def test_a_breaker_that_is_shared_tells_the_listener(events: Events) -> None:
    """The listener of the stack through which it was opened gets the event."""
    transport = resilient_transport(Scripted(503), breaker=CircuitBreaker(1), listener=events)
    await transport.handle_async_request(get())
    assert events.names[0] == "circuit_opened"


@asynchronous
async def test_the_log_is_the_listener_unless_another_is_given(clock: Clock) -> None:
    """An entry for each event goes to structlog; with None there is no entry."""
    for options, names in (
        ({}, ["retry_scheduled", "call_succeeded_after_retries"]),
        ({"listener": None}, []),
    ):
        given: dict[str, Any] = dict(options)
        with capture_logs() as logs:
            transport = resilient_transport(Scripted(503, 200), sleep=clock.sleep, **given)
            await transport.handle_async_request(get())
        assert [entry["event"] for entry in logs] == names


@asynchronous
async def test_closing_reaches_the_bottom_once() -> None:
    """Closing the stack closes the innermost transport once."""
    inner = Scripted(200)
    async with resilient_transport(inner, **EVERYTHING) as transport:
        await transport.handle_async_request(get())
    assert (inner.entered, inner.exited) == (1, 1)
    await transport.aclose()
    assert inner.closed == 1


@asynchronous
async def test_a_whole_stack_lives_in_virtual_time() -> None:
    """Clock, sleep and timer of the testing kit drive every limit of it, so that nothing waits."""

    async def hang(_: httpx.Request) -> httpx.Response:
        await time.sleep(3600)
        return httpx.Response(200)  # pragma: no cover

    async with VirtualTime() as time:
        transport = resilient_transport(
            Scripted(hang),
            deadline=20,
            retry=RetryPolicy(),
            budget=None,
            concurrency_limit=1,
            attempt_timeout=8,
            listener=None,
            clock=time.monotonic,
            sleep=time.sleep,
            timer=time.move_on_after,
        )
        began = time.monotonic()
        with pytest.raises(TimeLimitExceededError, match=r"within 20 s \(deadline\)"):
            await transport.handle_async_request(get())
        assert time.monotonic() - began == 20.0  # attempts of 8 and 8 seconds, 1 between, and 3


@asynchronous
@pytest.mark.parametrize("hedge", [None, 5.0])
async def test_a_body_that_breaks_off_does_not_lead_into_a_wait_for_an_open_circuit(
    hedge: float | None,
) -> None:
    """The breaker leaves its gate on the request for the retry layer, also through a hedge."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds == hedge:
            await anyio.sleep_forever()
        slept.append(seconds)  # pragma: no cover - by a call that waits in vain

    def cut(_: httpx.Request) -> httpx.Response:
        body = Body(b"12", httpx.ReadError("cut"))
        return httpx.Response(200, headers={"content-length": "10"}, stream=body)

    transport = resilient_transport(
        httpx.MockTransport(cut), hedge=hedge, breaker=CircuitBreaker(1), sleep=sleep, listener=None
    )
    with pytest.raises(httpx.ReadError, match="cut"):
        await transport.handle_async_request(get())
    assert slept == []


@asynchronous
async def test_limits_on_parts_of_an_attempt_can_be_given(clock: Clock) -> None:
    """Limits for the headers and between chunks need no limit on the whole attempt."""
    transport = resilient_transport(
        Scripted(200), attempt_timeout=AttemptTimeout(headers=5, idle=3), clock=clock, listener=None
    )
    assert "headers=5, idle=3" in repr(transport)
    assert (await transport.handle_async_request(get())).status_code == 200


class Renewing(httpx.Auth):
    """Sends a request again when it was answered 401."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        response = yield request
        if response.status_code == 401:
            yield request


@asynchronous
@pytest.mark.parametrize(
    ("first", "inside", "ended"),
    [(302, True, None), (401, True, None), (401, False, 200)],
    ids=["a redirect", "auth=", "the client's auth"],
)
async def test_a_deadline_covers_all_requests_of_a_call(
    first: int, ended: int | None, *, inside: bool
) -> None:
    """This includes redirects and the flow of `auth=`, whose requests httpx sends one by one."""
    async with VirtualTime() as time:

        async def answer(_: httpx.Request) -> httpx.Response:
            await time.sleep(2)
            status = first if len(script.requests) == 1 else 200
            return httpx.Response(status, headers={"location": "/next"})

        script = Scripted(answer)
        transport = resilient_transport(
            script,
            deadline=3,
            auth=Renewing() if inside else None,
            clock=time.monotonic,
            sleep=time.sleep,
            timer=time.move_on_after,
            listener=None,
        )
        client = httpx.AsyncClient(
            transport=transport, auth=None if inside else Renewing(), follow_redirects=True
        )
        async with client:
            if ended is None:
                with pytest.raises(TimeLimitExceededError):
                    await client.get(A)
                assert time.monotonic() == 3
            else:
                assert (await client.get(A)).status_code == ended
    assert len(script.requests) == 2


@asynchronous
async def test_two_stacks_share_their_circuit_and_their_rate() -> None:
    """A circuit that one opens is open for the other; both together keep to the rate."""
    clock = Clock()
    store = FakeStore(clock)
    inner = Scripted(503)
    stacks = [
        resilient_transport(
            inner,
            retry=None,
            rate_limit=10,
            waiting_room=None,
            shared=store,
            listener=None,
            clock=clock,
            sleep=clock.sleep,
        )
        for _ in range(2)
    ]
    for number in range(6):
        await stacks[number % 2].handle_async_request(get())
    for stack in stacks:
        with pytest.raises(CircuitBreakerOpenError):
            await stack.handle_async_request(get())
    assert len(inner.requests) == 6
    assert clock.now >= 1000.5


@asynchronous
async def test_a_breaker_in_a_stack_is_shared_by_the_name_of_its_service() -> None:
    """The name of the service identifies it, as in a client."""
    store = FakeStore(Clock())
    for _ in range(5):
        breaker = CircuitBreaker(service="prices")
        stack = resilient_transport(Scripted(503), retry=None, breaker=breaker, shared=store)
        await stack.handle_async_request(get())
    assert store.circuits["service:prices"].openings == 1


def test_only_a_store_can_be_shared() -> None:
    """A client of Redis is not a store."""
    with pytest.raises(TypeError, match="shared must be a"):
        resilient_transport(Scripted(200), shared=object())  # type: ignore[arg-type]


# Layers that the caller chooses


@asynchronous
async def test_a_partial_of_a_layer_is_wired_into_the_stack(clock: Clock, events: Events) -> None:
    """It gets the listener, the clock and the store that it does not name."""
    store = FakeStore(clock)
    transport = resilient_transport(
        Scripted(503),
        retry=None,
        breaker=partial(CircuitBreakerTransport, failure_threshold=1, cooldown=7),
        listener=events,
        clock=clock,
        shared=store,
    )
    await transport.handle_async_request(get())
    with pytest.raises(CircuitBreakerOpenError, match=r"7\.0 s"):
        await transport.handle_async_request(get())
    assert events.names[0] == "circuit_opened"
    assert store.commands > 0
    clock.advance(7)
    await transport.handle_async_request(get())
    assert "circuit_half_opened" in events.names


@asynchronous
async def test_what_a_partial_names_is_kept(clock: Clock, events: Events) -> None:
    """Each option can be chosen for one layer alone; a function of any other kind gets nothing."""
    own = Events()
    options: dict[str, Any] = {"listener": events, "clock": clock, "sleep": clock.sleep}
    kept = partial(CircuitBreakerTransport, failure_threshold=1, listener=own)
    transport = resilient_transport(Scripted(503), retry=None, breaker=kept, **options)
    await transport.handle_async_request(get())
    assert (own.names, events.names) == (["circuit_opened"], [])

    def anything(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return CircuitBreakerTransport(inner, failure_threshold=1, listener=None)

    alone = resilient_transport(Scripted(503), retry=None, breaker=anything, **options)
    await alone.handle_async_request(get())
    assert events.names == []


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("deadline", partial(TimeoutTransport, headers=2, whole_call=True)),
        ("retry", RetryTransport),
        ("hedge", partial(HedgingTransport, delay=0.5)),
        ("rate_limit", partial(RateLimitTransport, max_wait=3)),
        ("rate_limit", partial(RateLimitTransport, rate=100, per=60)),
        ("concurrency_limit", ConcurrencyLimitTransport),
        ("breaker", partial(CircuitBreakerTransport, breaker=CircuitBreaker(service="api"))),
        ("waiting_room", partial(WaitingRoomTransport, max_waiting=3)),
        ("attempt_timeout", partial(TimeoutTransport, idle=2)),
    ],
)
@asynchronous
async def test_every_layer_can_be_chosen_by_its_class(name: str, layer: Any, clock: Clock) -> None:  # noqa: ANN401 - any layer
    """If all options of the stack are set, a layer gets only those that it has."""
    options: dict[str, Any] = {
        "clock": clock,
        "sleep": clock.sleep,
        "timer": anyio.move_on_after,
        "shared": FakeStore(clock),
        "classify": lambda *_: None,
        "budget": RetryBudget(1),
        "listener": None,
    }
    transport = resilient_transport(Scripted(200), **{name: layer}, **options)
    assert (await transport.handle_async_request(get())).status_code == 200


@asynchronous
async def test_a_waiting_room_has_the_key_of_a_chosen_breaker() -> None:
    """Otherwise the callers of one tenant would wait for the circuit of another."""
    keys: list[str] = []

    def tenant(request: httpx.Request) -> str:
        keys.append(request.headers["x-tenant"])
        return keys[-1]

    transport = resilient_transport(
        Scripted(503),
        retry=None,
        breaker=partial(CircuitBreakerTransport, key=tenant, failure_threshold=1, cooldown=0.02),
        waiting_room=1,
        listener=None,
    )
    await transport.handle_async_request(get(headers={"x-tenant": "a"}))
    asked = len(keys)
    await transport.handle_async_request(get(headers={"x-tenant": "a"}))
    assert len(keys) >= asked + 3  # the breaker, the room, and the breaker again


@pytest.mark.parametrize(
    ("name", "value"), [("retry", 5), ("breaker", Scripted(200)), ("attempt_timeout", (1, 2))]
)
def test_the_error_of_an_option_says_what_else_it_takes(name: str, value: Any) -> None:  # noqa: ANN401 - wrong on purpose
    """The error suggests what to pass instead of a number of retries or a finished layer."""
    with pytest.raises(TypeError, match=f"^{name} must be") as raised:
        resilient_transport(Scripted(200), **{name: value})
    [note] = raised.value.__notes__
    assert note == f"{name} can also be None, a layer class, or a functools.partial of one"
