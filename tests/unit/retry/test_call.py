import math
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import count
from typing import Any

import httpcore
import httpx
import pytest

from tests.support import URL, Clock, get, post
from walltrack import Delivery, RetryPolicy, RetryScheduled, RetryStopped, StopReason
from walltrack.core.extensions import CallReport
from walltrack.http.evidence import SendTrace
from walltrack.http.requests import OneShotStream
from walltrack.http.waits import Waits
from walltrack.retry.call import KEY_HEADER, Call, outgoing
from walltrack.retry.policy import Attempt, Wait
from walltrack.timeout.deadline import TimeLimit

NOT_SENT, UNCERTAIN, ANSWERED = Delivery.NOT_SENT, Delivery.UNCERTAIN, Delivery.ANSWERED

KEYED = RetryPolicy()
PROVEN = RetryPolicy(non_idempotent="proven")


async def from_async_generator() -> AsyncIterator[bytes]:
    """A body that an asynchronous client can send, once."""
    yield b"once"


def from_generator() -> Iterator[bytes]:
    """A body of the other kind."""
    yield b"once"


def request_of(method: str, **options: Any) -> httpx.Request:  # noqa: ANN401 - handed on
    """A request with another method."""
    return httpx.Request(method, URL, **options)


def sent(request: httpx.Request, policy: RetryPolicy = KEYED) -> httpx.Request:
    """What goes out for `request`, with keys that are numbers."""
    numbers = map(str, count(1))
    return outgoing(request, policy, lambda: next(numbers))


def refused() -> httpx.ConnectError:
    """A connection that was refused, as httpx tells it over httpcore."""
    error = httpx.ConnectError("refused")
    error.__cause__ = httpcore.ConnectError()
    return error


def call_of(
    ended: httpx.Response | Exception,
    request: httpx.Request | None = None,
    policy: RetryPolicy = KEYED,
) -> Call:
    """A call whose first attempt ended so."""
    return Call(request or get(), policy, ended, Waits())


# What goes out


@pytest.mark.parametrize("method", ["POST", "PATCH", "MKCOL"])
@pytest.mark.parametrize(("policy", "key"), [(KEYED, "1"), (PROVEN, None), (RetryPolicy(0), None)])
def test_what_may_act_twice_is_traced_and_keyed(
    method: str, policy: RetryPolicy, key: str | None
) -> None:
    """The key where the policy wants one, the trace in any case; the body stays the same."""
    request = request_of(method, content=b"x")
    clone = sent(request, policy)
    assert clone.headers.get(KEY_HEADER) == key
    assert isinstance(clone.extensions["trace"], SendTrace)
    assert clone.stream is request.stream


def test_a_key_of_the_caller_is_kept() -> None:
    """And none is made."""
    clone = outgoing(post(headers={"idempotency-key": "mine"}), KEYED, lambda: pytest.fail("made"))
    assert clone.headers.get_list(KEY_HEADER) == ["mine"]


def test_the_callers_request_is_left_as_it_was() -> None:
    """Sent again, it is a new call."""
    request = request_of("POST", content=from_async_generator())
    headers, stream = request.headers.copy(), request.stream
    clone = sent(request)
    assert clone is not request
    assert (request.headers, request.extensions, request.stream) == (headers, {}, stream)


@pytest.mark.anyio
async def test_a_trace_of_the_caller_is_chained() -> None:
    """It hears what it would have heard."""
    heard: list[str] = []

    async def mine(name: str, _: Mapping[str, Any]) -> None:
        heard.append(name)

    request = post(extensions={"trace": mine})
    await sent(request).extensions["trace"]("connection.close.started", {})
    assert heard == ["connection.close.started"]
    assert request.extensions == {"trace": mine}


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_body_that_can_be_read_once_is_watched(method: str) -> None:
    """So that it is known whether anybody began to read it."""
    clone = sent(request_of(method, content=from_async_generator()))
    assert isinstance(clone.stream, OneShotStream)
    assert not clone.stream.touched


@pytest.mark.parametrize(
    "body",
    [{"content": b"x"}, {"files": {"f": b"x"}}, {"content": from_generator()}],
    ids=["bytes", "multipart", "of the other kind"],
)
def test_any_other_body_is_left_alone(body: dict[str, Any]) -> None:
    """One that replays needs no watching, one for synchronous clients is not this client's."""
    request = request_of("PUT", **body)
    assert sent(request).stream is request.stream


def test_what_may_be_repeated_is_not_traced() -> None:
    """Where it went does not matter, whatever is done about its body."""
    assert sent(request_of("PUT", content=from_async_generator())).extensions == {}


# How it ended


def test_an_answer_is_an_end() -> None:
    """Which the server knows of."""
    response = httpx.Response(503)
    call = call_of(response)
    assert (call.response, call.error, call.delivery) == (response, None, ANSWERED)


@pytest.mark.parametrize(
    ("error", "delivery"), [(refused(), NOT_SENT), (httpx.ReadError("reset"), UNCERTAIN)]
)
def test_an_exception_is_an_end(error: Exception, delivery: Delivery) -> None:
    """From which follows whether the server can know of it."""
    call = call_of(error)
    assert (call.response, call.error, call.delivery) == (None, error, delivery)


def test_each_attempt_ends_by_itself() -> None:
    """A refused connection after a silence is not sent; the number and the backoff go up."""
    call = call_of(httpx.ReadTimeout("late"))
    call.begin(2.0)
    assert (call.attempts, call.backoff) == (2, 2.0)
    assert (call.response, call.error) == (None, None)
    call.end(refused())
    assert call.delivery is NOT_SENT


@pytest.mark.anyio
async def test_each_attempt_is_traced_by_itself() -> None:
    """What was sent before does not make the next attempt uncertain."""
    request = sent(post())
    trace = request.extensions["trace"]
    await trace("http11.send_request_headers.started", {"request": httpcore.Request("POST", URL)})
    call = call_of(httpx.ReadError("reset"), request)
    assert call.delivery is UNCERTAIN

    call.begin(1.0)
    await trace("connection.connect_tcp.failed", {})
    call.end(httpx.ReadError("as a proxy is known to put it"))

    assert call.delivery is NOT_SENT


# What a policy and a listener get to know


@pytest.mark.parametrize("shut", [True, False])
def test_a_policy_knows_the_answer(*, shut: bool) -> None:
    """Number, method, status, what it asked for, and whether the way is shut."""
    call = call_of(httpx.Response(429, headers={"Retry-After": "7"}), post())
    call.begin(1.5)
    call.end(httpx.Response(503, headers=[("Retry-After", "3"), ("Retry-After", "5")]))
    assert call.last_attempt(lambda: 1e9, shut=shut) == Attempt(
        2, "POST", ANSWERED, status=503, retry_after=5.0, shut=shut, previous_delay=1.5
    )


def test_a_policy_knows_how_much_time_is_left(clock: Clock) -> None:
    """By the deadline of the call, at the moment when it is asked; without one, all of it."""
    limited = get(extensions={"walltrack.deadline": TimeLimit(5.0, "deadline", clock)})
    call = call_of(httpx.Response(503), limited)
    clock.advance(2.0)
    assert call.last_attempt(lambda: 1e9, shut=False).time_left == 3.0
    assert call_of(httpx.Response(503)).last_attempt(lambda: 1e9, shut=False).time_left == math.inf


def test_a_date_is_measured_by_the_given_clock() -> None:
    """Nobody asks the machine for the time."""
    date = "Sun, 09 Sep 2001 01:46:47 GMT"  # seven seconds after 1e9
    call = call_of(httpx.Response(503, headers={"Retry-After": date}))
    assert call.last_attempt(lambda: 1e9, shut=False).retry_after == 7.0


@pytest.mark.anyio
async def test_a_policy_knows_the_failure() -> None:
    """There is no status, and no wait that was asked for; and a body may be used up."""
    request = sent(request_of("PUT", content=from_async_generator()))
    call = call_of(refused(), request)
    known = Attempt(1, "PUT", NOT_SENT)
    assert call.last_attempt(lambda: 0.0, shut=False) == known

    assert isinstance(request.stream, OneShotStream)
    assert [chunk async for chunk in request.stream] == [b"once"]

    assert not call.last_attempt(lambda: 0.0, shut=False).replayable


@pytest.mark.parametrize(
    ("ended", "reason"), [(httpx.Response(503), "503"), (refused(), "ConnectError")]
)
def test_events_say_what_happened(ended: httpx.Response | Exception, reason: str) -> None:
    """Service, method, path, numbers and reason; no userinfo and no query."""
    request = request_of("PUT", extensions={"walltrack.service": "things"})
    call = call_of(ended, request, RetryPolicy(7))
    assert call.scheduled(Wait(delay=5.0, backoff=1.0)) == RetryScheduled(
        "things", "PUT", "/things", 1, 7, 5.0, reason
    )
    assert call.stopped(StopReason.CIRCUIT_OPEN) == RetryStopped(
        "things", "PUT", "/things", 1, 7, reason, StopReason.CIRCUIT_OPEN
    )


# The report


def test_a_report_tells_of_the_attempts_so_far() -> None:
    """How many, and whether the server can have acted on any of them."""
    report = CallReport()
    call = call_of(httpx.ReadTimeout("late"), get(extensions={"walltrack.report": report}))
    assert report == CallReport(1, UNCERTAIN)
    call.begin(1.0)
    call.end(refused())
    assert report == CallReport(2, UNCERTAIN)


def test_a_redirect_is_reported_by_itself() -> None:
    """What an earlier request met does not tell of this one."""
    report = CallReport(4, UNCERTAIN)
    call_of(refused(), get(extensions={"walltrack.report": report}))
    assert report == CallReport(1, NOT_SENT)


@pytest.mark.parametrize("stranger", [None, "mine", {"attempts": 1}])
def test_a_report_of_another_kind_is_left_alone(stranger: object) -> None:
    """Whatever stands in its place does no harm and comes to none."""
    request = get(extensions={"walltrack.report": stranger})
    call_of(httpx.Response(503), request)
    assert request.extensions == {"walltrack.report": stranger}


@pytest.mark.parametrize(
    ("deliveries", "known"),
    [
        ([NOT_SENT], NOT_SENT),
        ([NOT_SENT, NOT_SENT], NOT_SENT),
        ([NOT_SENT, ANSWERED], ANSWERED),
        ([ANSWERED, NOT_SENT], ANSWERED),
        ([ANSWERED, UNCERTAIN], UNCERTAIN),
        ([UNCERTAIN, ANSWERED], UNCERTAIN),
        ([UNCERTAIN, NOT_SENT, NOT_SENT], UNCERTAIN),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_attempt_that_may_have_been_acted_on_outweighs_the_others(
    deliveries: list[Delivery], known: Delivery
) -> None:
    """In whatever order they came; an answer outweighs what was not sent."""
    report = CallReport()
    for number, delivery in enumerate(deliveries, 1):
        report.note(number, delivery)
    assert report == CallReport(len(deliveries), known)
