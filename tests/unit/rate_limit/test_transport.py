import copy
import math
import random
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.support import Body, Clock, Events, Failing, Scripted, get, post
from tests.virtual_time import VirtualTime, settle
from walltrack import RetryTransport, TransportClosedError
from walltrack.core.classification import Classification
from walltrack.core.events import OriginThrottled, RejectReason, RequestAdmitted, RequestRejected
from walltrack.core.exceptions import RateLimitError, WallTrackError
from walltrack.core.extensions import DEADLINE, GATE
from walltrack.core.naming import origin_of
from walltrack.rate_limit.transport import RateLimitTransport

pytestmark = pytest.mark.anyio

HERE = "https://api.test/things"
ELSEWHERE = "https://other.test/things"
WALL = 1_700_000_000.0


class Left:
    """A deadline that always leaves the same number of seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def remaining(self) -> float:
        return self.seconds


def layer(
    inner: httpx.AsyncBaseTransport,
    time: Clock | VirtualTime,
    rate: float | None = None,
    **options: Any,  # noqa: ANN401 - handed on
) -> RateLimitTransport:
    """The transport under test; silent unless it is given a listener."""
    defaults = {"clock": time, "sleep": time.sleep, "wall_clock": lambda: WALL, "listener": None}
    return RateLimitTransport(inner, rate, **{**defaults, **options})


def not_to_be_called(_: object) -> str:
    """A function that fails the test when it is called."""
    raise AssertionError


async def ask(
    transport: httpx.AsyncBaseTransport, url: str = HERE, deadline: Left | None = None
) -> Any:  # noqa: ANN401 - a status or an exception
    """Send one request, and return the status or the exception."""
    extensions = {} if deadline is None else {DEADLINE: deadline}
    try:
        response = await transport.handle_async_request(get(url, extensions=extensions))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return error
    return response.status_code


def told(status: int, *headers: tuple[str, str]) -> httpx.Response:
    """A response with these headers."""
    return httpx.Response(status, headers=list(headers))


def told_to_wait(seconds: float) -> httpx.Response:
    """A 429 response with a Retry-After header."""
    return told(429, ("Retry-After", str(seconds)))


async def test_requests_are_paced(clock: Clock) -> None:
    """A burst is sent at once, and then one request in each interval."""
    inner = Scripted(200)
    transport = layer(inner, clock, 10, per=2.0, burst=3)
    assert [await ask(transport) for _ in range(6)] == [200] * 6
    assert clock.sleeps == pytest.approx([0.2, 0.2, 0.2])


async def test_each_origin_has_a_pace_of_its_own(clock: Clock) -> None:
    """Requests to one origin do not delay those to another."""
    transport = layer(Scripted(200), clock, 1)
    assert [await ask(transport, url) for url in (HERE, ELSEWHERE, HERE)] == [200] * 3
    assert clock.sleeps == [1.0]


async def test_a_key_shares_or_splits_a_pace(clock: Clock) -> None:
    """Requests with the same key share one rate, regardless of their origins."""
    transport = layer(Scripted(200), clock, 1, key=lambda request: request.method)
    await ask(transport, HERE)
    await ask(transport, ELSEWHERE)
    await transport.handle_async_request(post(HERE))
    assert clock.sleeps == [1.0]


async def test_without_a_rate_nothing_waits(clock: Clock) -> None:
    """The key function is not called either, until a server announces a limit."""
    transport = layer(Scripted(200), clock, key=not_to_be_called)
    assert [await ask(transport) for _ in range(100)] == [200] * 100
    assert clock.sleeps == []


async def test_a_request_that_waited_is_reported_when_it_is_sent(
    clock: Clock, events: Events
) -> None:
    """The event has the seconds waited, also for a server's limit; other requests emit none."""
    transport = layer(Scripted(200, 200, told_to_wait(30), 200), clock, 2, listener=events)
    assert [await ask(transport) for _ in range(4)] == [200, 200, 429, 200]
    waits = [event for event in events if isinstance(event, RequestAdmitted)]
    assert waits == [
        RequestAdmitted("api.test", "GET", "/things", seconds, "rate_limit")
        for seconds in (0.5, 0.5, 30.0)
    ]


async def test_asked_not_to_wait_it_rejects(clock: Clock, events: Events) -> None:
    """A call over the rate fails at once; after the error's `retry_after` one is admitted."""
    inner = Scripted(200)
    transport = layer(inner, clock, 2, wait=False, listener=events)
    assert await ask(transport) == 200

    request = get(HERE + "?api-key=hunter2")
    with pytest.raises(RateLimitError) as caught:
        await transport.handle_async_request(request)

    assert caught.value.retry_after == 0.5
    assert caught.value.request is request
    assert len(inner.requests) == 1
    assert events == [RequestRejected("api.test", "GET", "/things", RejectReason.RATE_LIMIT, 0.5)]
    assert clock.sleeps == []
    clock.advance(0.5)
    assert await ask(transport) == 200


async def test_a_refusal_is_an_error_of_ours_and_of_httpx(clock: Clock) -> None:
    """Code that handles either of the two base classes handles it, and it is not retried."""
    transport = RetryTransport(layer(Scripted(200), clock, 1, wait=False), listener=None)
    await ask(transport)
    error = await ask(transport)
    assert isinstance(error, RateLimitError)
    assert isinstance(error, WallTrackError)
    assert isinstance(error, httpx.TransportError)
    assert "hunter2" not in f"{error} {error!r} {copy.copy(error)!r}"


async def test_a_wait_beyond_the_longest_is_refused_at_once() -> None:
    """The wait includes the time for the requests ahead of it in the queue."""
    time = VirtualTime()
    transport = layer(Scripted(200), time, 1, max_wait=2.0)
    answers: list[Any] = []

    async def one() -> None:
        answers.append(await ask(transport))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(one)
        await settle()
        errors = [answer for answer in answers if isinstance(answer, RateLimitError)]
        assert [error.retry_after for error in errors] == [3.0, 3.0]
        await time.advance(2)
    assert answers.count(200) == 3


@pytest.mark.parametrize(("left", "answered"), [(1.5, True), (1.0, False), (0.5, False)])
async def test_the_deadline_is_seen(clock: Clock, left: float, answered: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A request whose turn would come at its deadline or later is rejected at once."""
    transport = layer(Scripted(200), clock, 1)
    await ask(transport, deadline=Left(0.0))
    answer = await ask(transport, deadline=Left(left))
    assert (answer == 200) is answered
    assert isinstance(answer, RateLimitError) is not answered
    assert bool(clock.sleeps) is answered


HEADERS = [
    (429, [("Retry-After", "30")], "Retry-After"),
    (503, [("retry-after", "30")], "Retry-After"),
    (503, [("Retry-After", "Tue, 14 Nov 2023 22:13:50 GMT")], "Retry-After"),
    (200, [("RateLimit", '"default";r=0;t=30')], "RateLimit"),
    (
        200,
        [("ratelimit", '"default";r=0'), ("RateLimit-Policy", '"default";q=9;w=30')],
        "RateLimit",
    ),
    (404, [("RateLimit-Remaining", "0"), ("RateLimit-Reset", "30")], "RateLimit-Reset"),
    (301, [("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "30")], "X-RateLimit-Reset"),
    (
        200,
        [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", str(int(WALL) + 30))],
        "X-RateLimit-Reset",
    ),
    (429, [("X-Rate-Limit-Remaining", "0"), ("X-Rate-Limit-Reset", "30")], "X-Rate-Limit-Reset"),
]


@pytest.mark.parametrize("rate", [None, 1000.0])
@pytest.mark.parametrize("told_by", HEADERS)
async def test_one_limited_response_delays_all_requests(
    clock: Clock,
    events: Events,
    told_by: tuple[int, list[tuple[str, str]], str],
    rate: float | None,
) -> None:
    """Each header delays requests until the time that it names, on any status it may have."""
    status, headers, name = told_by
    transport = layer(Scripted(told(status, *headers), 200), clock, rate, listener=events)
    assert await ask(transport) == status
    assert events == [OriginThrottled("api.test", 30.0, name)]
    clock.advance(10.0)
    assert [await ask(transport) for _ in range(2)] == [200, 200]
    assert clock.sleeps[0] == pytest.approx(20.0)
    assert sum(clock.sleeps) < 20.1


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, [("Retry-After", "30")]),
        (500, [("Retry-After", "30")]),
        (429, []),
        (429, [("Retry-After", "yesterday")]),
        (200, [("RateLimit", '"default";r=1;t=30')]),
        (200, [("X-RateLimit-Remaining", "1"), ("X-RateLimit-Reset", "30")]),
        (200, [("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "-30")]),
    ],
)
async def test_a_response_that_asks_for_nothing_delays_no_request(
    clock: Clock, status: int, headers: list[tuple[str, str]]
) -> None:
    """A limit that is absent, malformed, not reached or on another status is ignored."""
    transport = layer(Scripted(told(status, *headers), 200), clock)
    assert [await ask(transport) for _ in range(3)] == [status, 200, 200]
    assert clock.sleeps == []


async def test_other_statuses_may_refuse(clock: Clock) -> None:
    """`statuses=` names the statuses whose Retry-After is respected."""
    answers = [told(500, ("Retry-After", "3")), told(429, ("Retry-After", "3"))]
    transport = layer(Scripted(*answers, 200), clock, statuses={500})
    assert [await ask(transport) for _ in range(3)] == [500, 429, 200]
    assert clock.sleeps == [3.0]


async def test_asked_to_ignore_headers_it_does(clock: Clock) -> None:
    """With `respect_headers=False` only its own rate counts."""
    transport = layer(Scripted(told_to_wait(30), 200), clock, respect_headers=False)
    assert [await ask(transport) for _ in range(2)] == [429, 200]
    assert clock.sleeps == []


async def test_other_origins_are_not_held_back(clock: Clock) -> None:
    """A Retry-After delays only the origin that sent it."""
    transport = layer(Scripted(told_to_wait(30), 200), clock)
    assert await ask(transport) == 429
    assert await ask(transport, ELSEWHERE) == 200
    assert clock.sleeps == []
    assert await ask(transport) == 200
    assert clock.sleeps == [30.0]


async def test_requests_that_already_wait_are_delayed_as_well() -> None:
    """Queued requests wait for a Retry-After that a request in flight receives."""
    time = VirtualTime()
    go = anyio.Event()
    went: list[float] = []

    async def first(_: httpx.Request) -> httpx.Response:
        await go.wait()
        return told_to_wait(10)

    def later(_: httpx.Request) -> httpx.Response:
        went.append(time.now - 1000.0)
        return httpx.Response(200)

    transport = layer(Scripted(first, later), time, 1)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask, transport)
        await time.advance(0.5)
        go.set()
        await time.advance(20)
    assert went == [10.5, 11.5]


async def test_a_request_that_cannot_wait_that_long_is_refused_at_once(events: Events) -> None:
    """So is a request that was queued already; the error has the remaining wait."""
    time = VirtualTime()
    inner = Scripted(told_to_wait(10), told_to_wait(3600), 200)
    transport = layer(inner, time, max_wait=60.0, listener=events)
    assert await ask(transport) == 429
    answers: list[Any] = []

    async def one() -> None:
        answers.append(await ask(transport))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(one)
        await time.advance(10)
    # The first request after the hold-back got a Retry-After of an hour; the others, released with
    # it, have either been sent already or are rejected.
    assert isinstance(await ask(transport), RateLimitError)
    assert answers[0] == 429
    refused = [answer for answer in answers if isinstance(answer, RateLimitError)]
    assert [error.retry_after for error in refused] == [3600.0] * 2
    assert [event.seconds for event in events if isinstance(event, OriginThrottled)] == [10, 3600]
    assert len(inner.requests) == 2


@pytest.mark.parametrize("seconds", ["86400000", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_day_is_the_longest_that_is_heeded(
    clock: Clock, events: Events, seconds: str
) -> None:
    """A longer Retry-After counts as one day, so it cannot block a client permanently."""
    answers = told(503, ("Retry-After", seconds)), 200
    transport = layer(Scripted(*answers), clock, listener=events)
    await ask(transport)
    error = await ask(transport)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 86_400.0
    assert events[0] == OriginThrottled("api.test", 86_400.0, "Retry-After")
    assert clock.sleeps == []
    clock.advance(86_400.0)
    assert await ask(transport) == 200


async def test_a_delay_that_grows_is_reported_again(clock: Clock, events: Events) -> None:
    """Further responses that name the same moment emit no event."""
    answers = iter([told_to_wait(5), told_to_wait(5), told_to_wait(9), httpx.Response(200)])
    go = anyio.Event()

    async def together(_: httpx.Request) -> httpx.Response:
        await go.wait()
        return next(answers)

    transport = layer(Scripted(together), clock, listener=events)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask, transport)
        await settle()
        go.set()

    assert [event.seconds for event in events if isinstance(event, OriginThrottled)] == [5, 9]
    assert await ask(transport) == 200
    assert clock.sleeps == [9]


async def test_no_listener_is_needed(clock: Clock) -> None:
    """Without a listener, requests are delayed and rejected in the same way."""
    transport = layer(Scripted(told_to_wait(100), 200), clock)
    await ask(transport)
    assert isinstance(await ask(transport), RateLimitError)


async def test_a_listener_that_raises_breaks_no_call(clock: Clock) -> None:
    """The first call still gets its response, and the next one is still rejected."""

    def broken(_: object) -> None:
        raise ValueError("no")

    transport = layer(Scripted(told_to_wait(100), 200), clock, listener=broken)
    assert await ask(transport) == 429
    assert isinstance(await ask(transport), RateLimitError)


RAISED = [LookupError("no such tenant"), KeyboardInterrupt(), SystemExit(1)]


# What a listener raises is logged, unless it ends the program.
HOOKS = [
    (hook, error)
    for hook in ("key", "clock", "wall_clock", "listener")
    for error in RAISED
    if hook != "listener" or not isinstance(error, Exception)
]


@pytest.mark.parametrize(("hook", "error"), HOOKS)
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "10"}),
        (200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "10"}),
    ],
)
async def test_what_a_hook_raises_closes_the_response(
    clock: Clock, hook: str, error: BaseException, status: int, headers: dict[str, str]
) -> None:
    """The caller gets the exception, no connection is lost, and the transport goes on."""
    body = Body(b"body")
    inner = Scripted(httpx.Response(status, headers=headers, stream=body), 200)
    failing: dict[str, Any] = {hook: Failing(error, value=clock.now)}
    transport = layer(inner, clock, **failing)
    with pytest.raises(type(error)) as caught:
        await transport.handle_async_request(get(HERE))
    assert caught.value is error
    assert body.closes == 1
    assert await ask(transport) == 200


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("works", range(6))
async def test_a_clock_that_raises_in_the_line_leaves_it(error: BaseException, works: int) -> None:
    """Whenever the clock raises, no call stays in line, and later ones have their turn."""
    time = Clock()
    calls = 0

    def failing() -> float:
        nonlocal calls
        calls += 1
        if calls == works + 1:
            raise error
        return time.now

    transport = layer(Scripted(200), time, 1, clock=failing)
    raised: list[BaseException] = []
    with anyio.fail_after(5):
        for _ in range(5):
            try:
                await transport.handle_async_request(get(HERE))
            except BaseException as caught:  # noqa: BLE001 - whatever it is, it is looked at below
                raised.append(caught)
    assert raised == [error]


async def test_closing_ends_every_call_that_waits_at_once() -> None:
    """Each call, first in line or behind, raises a TransportClosedError and sends nothing."""
    time = VirtualTime()
    inner = Scripted(200)
    transport = layer(inner, time, 1)
    await ask(transport)
    answers: list[Any] = []

    async def one() -> None:
        answers.append(await ask(transport))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(one)
        await settle()
        await transport.aclose()
        await settle()
        assert [type(answer) for answer in answers] == 3 * [TransportClosedError]
    assert not time.sleepers
    assert len(inner.requests) == 1


async def test_a_closing_takes_no_token_and_ends_no_later_call() -> None:
    """A transport that is used again keeps its pace: the next call has the next token."""
    time = VirtualTime()
    transport = layer(Scripted(200), time, 1)
    await ask(transport)
    answers: list[Any] = []

    async def one() -> None:
        answers.append(await ask(transport))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(one)
            await settle()
            time.now += 1.0  # the token is there, and the first one has not been woken yet
            await transport.aclose()
            group.start_soon(one)
    assert [answer if answer == 200 else type(answer) for answer in answers] in (
        [TransportClosedError, 200],
        [200, TransportClosedError],
    )


async def test_what_a_server_said_outlasts_a_closing(clock: Clock) -> None:
    """An origin that asked to be left alone is left alone by the calls after a closing as well."""
    transport = layer(Scripted(told_to_wait(30), 200), clock)
    await ask(transport)
    await transport.aclose()
    assert await ask(transport) == 200
    assert clock.sleeps == [30.0]


async def test_after_a_hold_back_it_is_as_quick_as_before(clock: Clock) -> None:
    """Without a rate, it stops calling the key function once the hold-back is over."""
    keys: list[str] = []

    def key(request: httpx.Request) -> str:
        keys.append(request.url.host)
        return request.url.host

    transport = layer(Scripted(told_to_wait(10), 200), clock, key=key)
    await ask(transport)
    assert len(keys) == 1
    await ask(transport, ELSEWHERE)
    assert len(keys) == 2
    await ask(transport)
    await ask(transport)
    asked = len(keys)
    for _ in range(5):
        await ask(transport)
    assert len(keys) == asked


async def test_no_caller_overtakes_waiters_that_go_one_after_the_other() -> None:
    """A caller that arrives as the hold-back ends is queued behind those already waiting."""
    time = VirtualTime()
    went: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        went.append(request.url.path)
        return httpx.Response(200)

    transport = layer(Scripted(told_to_wait(10), note), time)
    await ask(transport)
    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(ask, transport, f"https://api.test/{number}")
            await settle()
        time.now += 10.0
        await ask(transport, ELSEWHERE)
        group.start_soon(ask, transport, "https://api.test/late")
        await settle()
        await time.advance(0)
    assert went == ["/things", *(f"/{number}" for number in range(10)), "/late"]


async def test_what_becomes_of_a_request_does_not_matter_to_its_token(clock: Clock) -> None:
    """A failed request keeps its token, because the server may have counted it."""
    transport = layer(Scripted(httpx.ConnectError, 500, 200), clock, 1)
    assert isinstance(await ask(transport), httpx.ConnectError)
    assert await ask(transport) == 500
    assert await ask(transport) == 200
    assert clock.sleeps == [1.0, 1.0]


async def test_a_request_that_is_cancelled_under_way_has_taken_its_token(clock: Clock) -> None:
    """Its token is not returned, because the server may have counted the request."""

    async def never(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    transport = layer(Scripted(never, 200), clock, 1)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, transport)
            await settle()
            scope.cancel()
    assert await ask(transport) == 200
    assert clock.sleeps == [1.0]


async def test_each_attempt_takes_a_token(clock: Clock) -> None:
    """A retry is a request like any other to the server's counter."""
    inner = Scripted(503, 503, 200)
    transport = RetryTransport(layer(inner, clock, 0.1), listener=None, sleep=clock.sleep)
    assert await ask(transport) == 200
    assert clock.sleeps == pytest.approx([1.0, 9.0, 2.0, 8.0])


async def test_hundreds_go_at_the_rate(clock: Clock) -> None:
    """Hundreds of callers, some of them cancelled, keep to the rate, and lose no token."""
    went: list[tuple[int, float]] = []

    def note(request: httpx.Request) -> httpx.Response:
        went.append((int(request.url.path[1:]), clock.now))
        return httpx.Response(200)

    transport = layer(Scripted(note), clock, 100, burst=10, max_wait=math.inf)
    scopes: dict[int, anyio.CancelScope] = {}

    async def one(number: int) -> None:
        with anyio.CancelScope() as scopes[number]:
            await transport.handle_async_request(get(f"https://api.test/{number}"))

    async with anyio.create_task_group() as group:
        for number in range(500):
            group.start_soon(one, number)
            if number == 300:
                await settle()
                for victim in range(20, 300, 7):
                    scopes[victim].cancel()
    gone = {number for number, _ in went}
    assert {number for number in range(500) if number not in range(20, 300, 7)} <= gone
    assert len(gone) == len(went)
    for (_, earlier), (_, later) in zip(went, went[10:], strict=False):
        assert later >= earlier + 0.01 - 1e-9
    assert clock.now - 1000.0 == pytest.approx((len(went) - 10) / 100)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_transport_that_is_closed_again_and_again_keeps_its_pace(
    clock: Clock, seed: int
) -> None:
    """Each call is sent at its turn or ended, and the tokens of those that were ended are used."""
    rng = random.Random(seed)  # noqa: S311 - a race is no secret
    went: list[float] = []
    ended: list[Any] = []

    def note(_: httpx.Request) -> httpx.Response:
        went.append(clock.now)
        return httpx.Response(200)

    transport = layer(Scripted(note), clock, 100, burst=5, max_wait=math.inf)

    async def one() -> None:
        for _ in range(rng.randrange(200)):
            await anyio.lowlevel.checkpoint()
        ended.append(await ask(transport))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(300):
                group.start_soon(one)
            for _ in range(10):
                for _turn in range(rng.randrange(20)):
                    await anyio.lowlevel.checkpoint()
                await transport.aclose()
    assert {type(answer) for answer in ended} == {int, TransportClosedError}
    assert ended.count(200) == len(went)
    for earlier, later in zip(went, went[5:], strict=False):
        assert later >= earlier + 0.01 - 1e-9
    busy = [later - earlier for earlier, later in pairwise(went) if later > earlier]
    assert max(busy) <= 0.02 + 1e-9
    assert not vars(transport)["_lines"].obtain(origin_of(get(HERE))).waiting


async def test_origins_at_rest_are_forgotten(clock: Clock) -> None:
    """An idle origin is evicted; one whose Retry-After has not passed is kept."""
    transport = layer(Scripted(told_to_wait(50), 200), clock, 1, max_keys=3, max_wait=100)
    await ask(transport)
    for number in range(20):
        clock.advance(1.0)
        await ask(transport, f"https://host{number}.test/")
    assert clock.sleeps == []
    await ask(transport)
    assert clock.sleeps == [30.0]


@pytest.mark.parametrize("rate", [1.0, None])
async def test_a_crawler_of_many_origins_keeps_no_more_of_them_than_the_bound(
    clock: Clock, rate: float | None
) -> None:
    """Origins whose tokens are back, and whose hold-backs are over, make room for new ones."""
    answers = iter([429, 200, 200] * 1_000)

    def crawled(_: httpx.Request) -> httpx.Response:
        return httpx.Response(next(answers), headers={"Retry-After": "2"})

    transport = layer(
        Scripted(crawled), clock, rate, key=lambda request: request.method, max_keys=500
    )
    kept = vars(transport)["_lines"]
    most = 0
    for number in range(3_000):
        await transport.handle_async_request(httpx.Request(str(number), HERE))
        clock.advance(0.02)
        most = max(most, len(kept))
    assert most == 500
    assert clock.sleeps == []


async def test_the_request_is_handed_on_as_it_is(clock: Clock) -> None:
    """Nothing is added to it, and the response is the inner one's own."""
    response = httpx.Response(200)
    inner = Scripted(response)
    request = get(HERE)
    assert await layer(inner, clock, 1).handle_async_request(request) is response
    assert inner.requests == [request]
    assert GATE not in request.extensions


async def test_it_opens_and_closes_what_is_inside(clock: Clock) -> None:
    """The inner transport is entered and exited once."""
    inner = Scripted(200)
    async with layer(inner, clock):
        pass
    assert (inner.entered, inner.exited) == (1, 1)


async def test_by_default_it_waits_in_earnest() -> None:
    """The default clock and sleep are real, on asyncio and on trio."""
    transport = RateLimitTransport(Scripted(200), 100.0)
    began = anyio.current_time()
    for _ in range(3):
        await transport.handle_async_request(get(HERE))
    assert anyio.current_time() - began >= 0.02 - 1e-6


def test_its_repr_tells_the_pace_and_no_secret() -> None:
    """It reads like the call of the constructor, with the inner transport first."""
    inner = httpx.AsyncHTTPTransport()
    paced = RateLimitTransport(inner, 10, per=2.0, burst=5, respect_headers=False)
    assert repr(paced) == (
        "RateLimitTransport(AsyncHTTPTransport(), rate=10, per=2.0, burst=5, respect_headers=False)"
    )
    assert repr(RateLimitTransport(inner)) == "RateLimitTransport(AsyncHTTPTransport())"


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        ({"rate": 0}, ValueError, "rate must be a finite number above 0"),
        ({"rate": "10/s"}, TypeError, "rate must be a number"),
        ({"per": 0}, ValueError, "per must be"),
        ({"burst": 0}, ValueError, "burst must be at least 1"),
        ({"wait": "yes"}, TypeError, "wait must be a bool"),
        ({"max_wait": -1}, ValueError, "max_wait must be a number of at least 0"),
        ({"max_wait": math.nan}, ValueError, "max_wait must be a number"),
        ({"respect_headers": None}, TypeError, "respect_headers must be a bool"),
        ({"statuses": {42}}, ValueError, "statuses must be HTTP statuses"),
        ({"statuses": "429"}, TypeError, "statuses must be a collection"),
        ({"key": "host"}, TypeError, "key must be a function"),
        ({"max_keys": 0}, ValueError, "max_keys must be at least 1"),
        ({"clock": 1.0}, TypeError, "clock must be a function"),
        ({"wall_clock": 1.0}, TypeError, "wall_clock must be a function"),
        ({"sleep": 1.0}, TypeError, "sleep must be a function"),
    ],
)
def test_bad_arguments_are_refused(bad: dict[str, Any], error: type[Exception], text: str) -> None:
    """The constructor raises an error that names the argument."""
    with pytest.raises(error, match=text):
        RateLimitTransport(Scripted(200), **bad)


def test_the_key_is_the_origin() -> None:
    """Scheme, host and port, as for the circuit breakers."""
    assert origin_of(get("https://a.test/x")) == origin_of(get("https://a.test/y?z"))


# What responses mean


async def test_a_classifier_holds_back_what_no_header_would(clock: Clock, events: Events) -> None:
    """The classifier's `retry_after` counts instead of the headers, also for a 200 response."""
    inner = Scripted(httpx.Response(200, headers={"ratelimit": '"a";r=0;t=60'}), 200)
    transport = RateLimitTransport(
        inner,
        wait=False,
        classify=lambda _: Classification(retry_after=7.0),
        clock=clock,
        listener=events,
    )
    await transport.handle_async_request(get())
    with pytest.raises(RateLimitError) as raised:
        await transport.handle_async_request(get())
    assert raised.value.retry_after == 7.0
    assert [event.name for event in events] == ["origin_throttled", "request_rejected"]


async def test_without_a_word_of_the_classifier_headers_count(clock: Clock) -> None:
    """If the classifier returns None, the Retry-After header counts."""
    inner = Scripted(httpx.Response(429, headers={"retry-after": "7"}), 200)
    transport = RateLimitTransport(
        inner, wait=False, classify=[lambda _: None], clock=clock, listener=None
    )
    await transport.handle_async_request(get())
    with pytest.raises(RateLimitError):
        await transport.handle_async_request(get())
