from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import count
from typing import Any

import httpcore
import httpx
import pytest

from tests.support import URL, get, post
from walltrack import Delivery, RetryPolicy
from walltrack.core.classification import UNCLASSIFIED
from walltrack.core.extensions import CallReport
from walltrack.http.requests import OneShotStream
from walltrack.http.waits import Waits
from walltrack.retry.call import Call
from walltrack.retry.outgoing import Outgoing
from walltrack.retry.policy import Attempt

NOT_SENT, UNCERTAIN, ANSWERED = Delivery.NOT_SENT, Delivery.UNCERTAIN, Delivery.ANSWERED

KEYED = RetryPolicy(non_idempotent="keyed")
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
    make = Outgoing(policy, lambda: next(numbers), lambda: 0.0, is_classified=False)
    return make.prepare(request)[0]


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
    request = request or get()
    call = Call(request, request, policy, ended, Waits())
    call.conclude(UNCLASSIFIED)
    return call


# How it ended


def test_an_answer_is_an_end() -> None:
    """A response means that the request was answered."""
    response = httpx.Response(503)
    call = call_of(response)
    assert (call.response, call.error, call.delivery) == (response, None, ANSWERED)


@pytest.mark.parametrize(
    ("error", "delivery"), [(refused(), NOT_SENT), (httpx.ReadError("reset"), UNCERTAIN)]
)
def test_an_exception_is_an_end(error: Exception, delivery: Delivery) -> None:
    """The delivery is concluded from the exception."""
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


# What a policy gets to know


@pytest.mark.parametrize("shut", [True, False])
def test_a_policy_knows_the_answer(*, shut: bool) -> None:
    """It gets the number, method, status, requested wait, and whether the circuit is open."""
    call = call_of(httpx.Response(429, headers={"Retry-After": "7"}), post())
    call.begin(1.5)
    call.end(httpx.Response(503, headers=[("Retry-After", "3"), ("Retry-After", "5")]))
    assert call.last_attempt(lambda: 1e9, shut=shut, time_left=9.0) == Attempt(
        2,
        "POST",
        ANSWERED,
        status=503,
        retry_after=5.0,
        shut=shut,
        time_left=9.0,
        previous_delay=1.5,
    )


def test_a_date_is_measured_by_the_given_clock() -> None:
    """The machine's clock is not read, nor the given one where the response has a Date."""
    date = "Sun, 09 Sep 2001 01:46:47 GMT"  # seven seconds after 1e9
    call = call_of(httpx.Response(503, headers={"Retry-After": date}))
    assert call.last_attempt(lambda: 1e9, shut=False, time_left=9.0).retry_after == 7.0
    sent = {"Date": "Sun, 09 Sep 2001 01:46:40 GMT"}
    call = call_of(httpx.Response(503, headers={"Retry-After": date, **sent}))
    for wrong in (-300.0, 300.0):
        known = call.last_attempt(partial(float, 1e9 + wrong), shut=False, time_left=9.0)
        assert known.retry_after == 7.0


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after-ms": "20", "Retry-After": "1"}, 0.02),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "7"}, 7.0),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "7"}, None),
        ({"Retry-After": "9999999"}, 9_999_999.0),
        ({}, None),
    ],
)
def test_every_hint_counts(headers: dict[str, str], wait: float | None) -> None:
    """Whatever header says how long to wait, it is asked for in full."""
    call = call_of(httpx.Response(429, headers=headers))
    assert call.last_attempt(lambda: 1e9, shut=False, time_left=9.0).retry_after == wait


@pytest.mark.anyio
async def test_a_policy_knows_the_failure() -> None:
    """There is no status, and no wait that was asked for; and a body may be used up."""
    request = sent(request_of("PUT", content=from_async_generator()))
    call = call_of(refused(), request)
    known = Attempt(1, "PUT", NOT_SENT, time_left=9.0)
    assert call.last_attempt(lambda: 0.0, shut=False, time_left=9.0) == known

    assert isinstance(request.stream, OneShotStream)
    assert [chunk async for chunk in request.stream] == [b"once"]

    assert not call.last_attempt(lambda: 0.0, shut=False, time_left=9.0).replayable


# The report


def test_a_report_tells_of_the_attempts_so_far() -> None:
    """It has their number, and whether the server can have acted on any of them."""
    report = CallReport()
    call = call_of(httpx.ReadTimeout("late"), get(extensions={"walltrack.report": report}))
    assert report == CallReport(1, UNCERTAIN)
    call.begin(1.0)
    call.end(refused())
    call.conclude(UNCLASSIFIED)
    assert report == CallReport(2, UNCERTAIN)


def test_a_redirect_is_reported_by_itself() -> None:
    """The outcome of the earlier request does not count for this one."""
    report = CallReport(4, UNCERTAIN)
    call_of(refused(), get(extensions={"walltrack.report": report}))
    assert report == CallReport(1, NOT_SENT)


@pytest.mark.parametrize("stranger", [None, "mine", {"attempts": 1}])
def test_a_report_of_another_kind_is_left_alone(stranger: object) -> None:
    """Any other object under that key is ignored and not changed."""
    request = get(extensions={"walltrack.report": stranger})
    call_of(httpx.Response(503), request)
    assert request.extensions == {"walltrack.report": stranger}
