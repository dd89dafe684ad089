"""A call that several layers repeat keeps one key, and is never wrongly reported as not sent."""

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from tests.support import URL, Body, Clock, Scripted, Step, get, post
from walltrack import (
    AuthTransport,
    BaseAPIClient,
    Delivery,
    ExternalServiceError,
    HedgingTransport,
    RetryPolicy,
    RetryTransport,
    TimeoutTransport,
)
from walltrack.core.extensions import CallReport
from walltrack.retry.policy import NonIdempotent
from walltrack.testing import ScriptedTransport, VirtualTime

pytestmark = pytest.mark.anyio

Transport = httpx.AsyncBaseTransport

KEY = "Idempotency-Key"
READ_ERROR, REFUSED = httpx.ReadError, httpx.ConnectError


def retrying(
    inner: Transport,
    clock: Clock | VirtualTime,
    non_idempotent: NonIdempotent = "proven",
    retries: int = 1,
    **options: Any,  # noqa: ANN401 - handed on
) -> RetryTransport:
    """A transport that retries once, without waiting or logging."""
    policy = RetryPolicy(retries, non_idempotent=non_idempotent)
    return RetryTransport(inner, policy=policy, sleep=clock.sleep, listener=None, **options)


def keys(inner: Scripted | ScriptedTransport) -> list[int | None]:
    """The keys that were sent, numbered in the order of their first use; None: there was none."""
    sent = [request.headers.get(KEY) for request in inner.requests]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(sent), 1)}
    return [None if key is None else numbers[key] for key in sent]


async def outcome_of(transport: Transport, request: httpx.Request) -> int | type[Exception]:
    """The status of the response, or the class of the exception."""
    try:
        return (await transport.handle_async_request(request)).status_code
    except httpx.TransportError as error:
        return type(error)


@pytest.mark.parametrize(
    ("script", "ended", "sent"),
    [
        ([READ_ERROR, 429, 200], 429, 2),
        ([READ_ERROR, 503, 200], 503, 2),
        ([500, 429, 200], 429, 2),
        ([READ_ERROR, REFUSED, 200], REFUSED, 2),
        ([504, REFUSED, 200], REFUSED, 2),
        ([429, 429, 200], 200, 3),
        ([REFUSED, REFUSED, 200], 200, 3),
        ([503, REFUSED, 429, 200], 200, 4),
        ([429, READ_ERROR, 200], READ_ERROR, 2),
        ([READ_ERROR, 409, 201], 201, 3),
        ([503, 409, 200], 409, 2),
    ],
)
@pytest.mark.parametrize("inner_policy", ["keyed", "always"])
async def test_the_proof_of_the_last_attempt_is_none_for_those_before(
    script: list[Step], ended: object, sent: int, inner_policy: NonIdempotent, clock: Clock
) -> None:
    """An outer layer resends only if no attempt of the inner one may have been processed."""
    inner = Scripted(*script)
    report = CallReport()
    transport = retrying(retrying(inner, clock, inner_policy), clock)
    request = post(extensions={"walltrack.report": report})
    is_keyed = inner_policy == "keyed"
    if 409 in script and not is_keyed:  # a conflict says nothing without a key
        ended, sent = 409, 2
    assert await outcome_of(transport, request) == ended
    assert keys(inner) == [1 if is_keyed else None] * sent
    assert report.idempotency_key == inner.requests[0].headers.get(KEY)
    if READ_ERROR in script:
        assert report.delivery is Delivery.UNCERTAIN


async def test_a_get_that_is_retried_by_two_layers_reports_the_doubt_of_the_inner_one(
    clock: Clock,
) -> None:
    """It shares its request with both, and the last exception alone would say "not sent"."""
    report = CallReport()
    transport = retrying(retrying(Scripted(READ_ERROR, REFUSED, 503, REFUSED), clock), clock)
    with pytest.raises(REFUSED):
        await transport.handle_async_request(get(extensions={"walltrack.report": report}))
    assert report == CallReport(2, Delivery.UNCERTAIN)


@pytest.mark.parametrize("script", [[READ_ERROR, 500, 200], [500, READ_ERROR, 502, 200]])
async def test_all_attempts_of_nested_layers_have_one_key(script: list[Step], clock: Clock) -> None:
    """Also if only the innermost of three makes keys."""
    inner = Scripted(*script)
    transport = retrying(retrying(retrying(inner, clock, "keyed"), clock, "always"), clock)
    response = await transport.handle_async_request(post())
    assert response.status_code == 200
    assert keys(inner) == [1] * len(script)
    assert response.extensions["walltrack.idempotency_key"] == inner.requests[0].headers[KEY]


async def test_a_body_that_breaks_off_in_an_outer_layer_is_asked_for_with_the_same_key(
    clock: Clock,
) -> None:
    """For the inner layer the call had succeeded."""
    inner = Scripted(httpx.Response(201, stream=Body(b"x", httpx.ReadError("reset"))), 201)
    streaming = retrying(inner, clock, "keyed", body="stream")
    response = await retrying(streaming, clock, "always", body="whole").handle_async_request(post())
    assert response.status_code == 201
    assert keys(inner) == [1, 1]


async def test_an_attempt_that_a_time_limit_ended_is_repeated_with_the_same_key() -> None:
    """The inner layer was cancelled in its first attempt."""
    async with VirtualTime() as time:

        async def hang(_: httpx.Request) -> int:
            await time.sleep(60)
            return 200

        inner = ScriptedTransport([hang, 201])
        limited = TimeoutTransport(
            retrying(inner, time, "keyed"), 5, clock=time.monotonic, timer=time.move_on_after
        )
        assert await outcome_of(retrying(limited, time, "always"), post()) == 201
    assert keys(inner) == [1, 1]


def hedging(inner: Transport, time: VirtualTime) -> HedgingTransport:
    """A transport that hedges POST after a second."""
    return HedgingTransport(
        inner, 1, methods={"POST"}, clock=time.monotonic, sleep=time.sleep, listener=None
    )


async def within(seconds: float, ended: Step, time: VirtualTime, _: httpx.Request) -> Any:  # noqa: ANN401
    """An attempt that takes this long, and then has this outcome."""
    await time.sleep(seconds)
    return ended


@pytest.mark.parametrize(
    ("first", "second", "ended", "sent"),
    [
        ((2, 429), (2, READ_ERROR), 429, 2),
        ((2, REFUSED), (2, READ_ERROR), REFUSED, 2),
        ((2, 429), (2, 500), 429, 2),
        ((2, 429), (2, 429), 200, 3),
        ((2, 429), (2, REFUSED), 200, 3),
        ((9, 200), (2, 409), 200, 3),
        ((9, 200), (2, 404), 404, 2),
    ],
)
async def test_an_outer_layer_knows_of_the_hedge_that_lost(
    first: tuple[float, Step], second: tuple[float, Step], ended: object, sent: int
) -> None:
    """A refusal of one of two attempts proves nothing; a conflict may be with the other one."""
    async with VirtualTime() as time:
        slow = partial(within, *first, time), partial(within, *second, time)
        inner = ScriptedTransport([*slow, 200])
        policy: NonIdempotent = "keyed" if second[1] == 409 else "proven"
        assert await outcome_of(retrying(hedging(inner, time), time, policy), post()) == ended
    assert keys(inner) == [1 if policy == "keyed" else None] * sent


async def test_both_attempts_of_a_hedge_have_the_key_of_an_inner_layer() -> None:
    """Both attempts belong to one call."""
    async with VirtualTime() as time:
        inner = ScriptedTransport([partial(within, 9, 200, time), 200])
        assert await outcome_of(hedging(retrying(inner, time, "keyed"), time), post()) == 200
    assert keys(inner) == [1, 1]


class Renewing(httpx.Auth):
    """Sends a request again when it was answered 401, as one that fetches a new token does."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        response = yield request
        if response.status_code == 401:
            yield request


class Insistent(httpx.Auth):
    """Sends a request again whatever the first response is."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        yield request
        yield request


@pytest.mark.parametrize(
    ("script", "ended", "sent"),
    [
        ([401, 429, 401, 200], 200, 4),
        ([503, 429, 401, 200], 200, 4),
        ([500, 429, 401, 200], 429, 2),
        ([500, REFUSED, 401, 200], REFUSED, 2),
    ],
)
async def test_an_outer_layer_knows_of_the_first_request_of_an_auth_flow(
    script: list[Step], ended: object, sent: int, clock: Clock
) -> None:
    """Its last response proves nothing of the first, unless that was refused."""
    inner = Scripted(*script)
    transport = retrying(AuthTransport(inner, Insistent()), clock)
    assert await outcome_of(transport, post()) == ended
    assert len(inner.requests) == sent


@pytest.mark.parametrize(
    ("script", "ended", "sent"),
    [([READ_ERROR, 401, 201], 201, 3), ([READ_ERROR, 401, 429, 429, 201], 429, 4)],
)
async def test_an_auth_flow_around_retries_is_one_call(
    script: list[Step], ended: object, sent: int, clock: Clock
) -> None:
    """With one key, also if a third layer outside retries what was refused."""
    inner = Scripted(*script)
    flow = AuthTransport(retrying(inner, clock, "keyed"), Renewing())
    assert await outcome_of(flow, post()) == ended
    assert keys(inner) == [1] * sent
    inner = Scripted(*script)
    flow = AuthTransport(retrying(inner, clock, "keyed"), Renewing())
    assert await outcome_of(retrying(flow, clock), post()) == ended
    assert keys(inner) == [1] * sent


def limited(inner: Transport) -> Transport:
    """A deadline, which hands a copy of the request to the layers inside."""
    return TimeoutTransport(inner, 60, whole_call=True)


def as_it_is(inner: Transport) -> Transport:
    """No other layer."""
    return inner


@pytest.mark.parametrize("layer", [as_it_is, limited])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([READ_ERROR, 401, 201], [1, 1, 1]),
        ([401, 201], [1, 2]),
        ([503, 401, 201], [1, 1, 2]),
    ],
)
async def test_an_auth_flow_sends_a_call_that_may_have_been_processed_with_its_key(
    script: list[Step], expected: list[int], layer: Callable[[Transport], Transport], clock: Clock
) -> None:
    """Httpx runs it around all layers; after a plain 401 nothing has happened yet."""
    inner = Scripted(*script)
    transport = layer(retrying(inner, clock, "keyed"))
    async with httpx.AsyncClient(transport=transport, auth=Renewing()) as client:
        assert (await client.post(URL)).status_code == 201
    assert keys(inner) == expected


@pytest.mark.parametrize("layer", [as_it_is, limited])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([READ_ERROR, READ_ERROR, 201], [1, 1, 1]),
        ([500, 500, 201], [1, 1, 1]),
        ([READ_ERROR, 400, 201], [1, 1, 1]),
        ([httpx.LocalProtocolError, 201], [1, 1]),
        ([httpx.LocalProtocolError, 409, 201], [1, 1, 1]),
        ([READ_ERROR, READ_ERROR, 409, 201], [1, 1, 1, 1]),
        ([READ_ERROR, 201, 201], [1, 1, 2]),
        ([201, 201], [1, 2]),
        ([402, 201], [1, 2]),
        ([429, 429, 201], [1, 1, 2]),
        ([REFUSED, REFUSED, 201], [1, 1, 2]),
        ([READ_ERROR, READ_ERROR, 201, 201], [1, 1, 1, 2]),
    ],
)
async def test_a_request_object_that_is_sent_again_keeps_its_key_while_its_call_is_open(
    script: list[Step], expected: list[int], layer: Callable[[Transport], Transport], clock: Clock
) -> None:
    """Open: it may have been processed, and no response says how it went."""
    inner = Scripted(*script)
    transport = layer(retrying(inner, clock, "keyed"))
    request = post()
    while len(inner.requests) < len(script):
        await outcome_of(transport, request)
    assert keys(inner) == expected


async def test_a_call_that_ended_well_leaves_nothing_on_its_request(clock: Clock) -> None:
    """This holds whatever the outcome of its first attempt was."""
    request = post()
    transport = retrying(Scripted(READ_ERROR, 201), clock, "keyed")
    assert await outcome_of(transport, request) == 201
    assert request.extensions == {}


async def test_two_calls_at_a_time_by_one_request_object_have_a_key_each(clock: Clock) -> None:
    """This holds while neither has failed."""
    answering = anyio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        await answering.wait()
        return httpx.Response(201)

    inner, request = Scripted(answer), post()
    async with anyio.create_task_group() as callers:
        for _ in range(2):
            callers.start_soon(outcome_of, retrying(inner, clock, "keyed"), request)
        await anyio.wait_all_tasks_blocked()
        answering.set()
    assert keys(inner) == [1, 2]


async def test_a_redirect_has_a_key_of_its_own(clock: Clock) -> None:
    """A server that keeps answers by their keys would redirect it without end."""
    moved = httpx.Response(307, headers={"location": "/there"})
    inner = Scripted(READ_ERROR, moved, 201)
    transport = retrying(inner, clock, "keyed")
    async with httpx.AsyncClient(transport=transport, follow_redirects=True) as client:
        assert (await client.post(URL)).status_code == 201
    assert keys(inner) == [1, 1, 2]


async def test_what_a_call_left_on_its_request_does_not_speak_for_the_next_one(
    clock: Clock,
) -> None:
    """The request of a call that ended in doubt is sent again, and then not sent at all."""
    inner, request = Scripted(READ_ERROR, REFUSED, 201), post()
    transport = retrying(inner, clock)
    assert await outcome_of(transport, request) == READ_ERROR
    assert request.extensions["walltrack.delivery"] is Delivery.UNCERTAIN
    assert await outcome_of(transport, request) == 201


@pytest.mark.parametrize("last", [READ_ERROR, REFUSED, 409])
async def test_the_error_of_a_client_over_a_stack_knows_of_all_attempts(
    last: Step, clock: Clock
) -> None:
    """The stack inside retried by itself: its key and its doubt are those of the error."""
    inner = Scripted(READ_ERROR, last)
    client = BaseAPIClient(
        "https://api.test",
        transport=retrying(inner, clock, "keyed"),
        retry=RetryPolicy(0),
        listener=None,
    )
    async with client:
        with pytest.raises(ExternalServiceError) as caught:
            await client.post("/orders")
    assert caught.value.delivery is Delivery.UNCERTAIN
    assert caught.value.idempotency_key == inner.requests[0].headers[KEY]
    assert keys(inner) == [1, 1]


async def test_the_error_of_a_stream_that_breaks_off_shows_the_key() -> None:
    """The caller has got the response, and the rest of it is lost."""
    broken = httpx.Response(201, stream=Body(b"x", httpx.ReadError("reset")))
    inner = Scripted(broken)
    async with BaseAPIClient("https://api.test", transport=inner, listener=None) as client:
        with pytest.raises(ExternalServiceError) as caught:
            async with client.stream("POST", "/orders") as response:
                await response.aread()
    assert caught.value.idempotency_key == inner.requests[0].headers[KEY]
