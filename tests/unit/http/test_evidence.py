from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import httpcore
import httpx
import pytest

from tests.support import get
from walltrack import Delivery, RequestRejectedError, ResponseTooLargeError
from walltrack.core.extensions import SHARED_CALL, SharedCall
from walltrack.http.evidence import SendTrace, delivery_after, note_repeated

asynchronous = pytest.mark.anyio

CONNECTING = ["connection.connect_tcp.started", "connection.connect_tcp.failed"]
HEADERS_1 = "http11.send_request_headers.started"
HEADERS_2 = "http2.send_request_headers.started"
BODY = "http11.send_request_body.started"


def of(method: str) -> dict[str, Any]:
    """The information that httpcore passes to a trace with a step of a request."""
    return {"request": SimpleNamespace(method=method.encode())}


async def traced(*names: str, method: str = "POST") -> SendTrace:
    """A trace of a POST after these steps of a request with `method`."""
    trace = SendTrace("POST", None)
    for name in names:
        await trace(name, of(method))
    return trace


def by_httpcore(error: Exception) -> Exception:
    """The same error, as httpx raises it over httpcore."""
    error.__cause__ = httpcore.ConnectError()
    return error


# The trace


@asynchronous
@pytest.mark.parametrize(
    ("names", "began"),
    [
        ([], None),
        (CONNECTING, False),
        ([*CONNECTING, HEADERS_1], True),
        ([*CONNECTING, HEADERS_1, BODY], True),
        ([HEADERS_2], True),
        (["http11.send_request_headers.failed"], False),
    ],
    ids=["untraced", "no connection", "headers", "body", "HTTP/2", "another end"],
)
async def test_a_request_began_to_be_sent_with_its_headers(
    names: list[str], *, began: bool | None
) -> None:
    """Before that the server has received no byte of it; without a trace nothing is known."""
    assert (await traced(*names)).began_to_send is began


@asynchronous
async def test_what_a_proxy_is_asked_first_is_not_the_request() -> None:
    """CONNECT reaches only the proxy; the request is sent inside the tunnel."""
    trace = await traced(HEADERS_1, method="CONNECT")
    assert trace.began_to_send is False
    await trace(HEADERS_1, of("POST"))
    assert trace.began_to_send is True


@asynchronous
async def test_once_sent_stays_sent() -> None:
    """A later step of another request does not undo it."""
    trace = await traced(HEADERS_1)
    await trace(HEADERS_1, of("CONNECT"))
    assert trace.began_to_send is True


@asynchronous
async def test_each_attempt_begins_without_evidence() -> None:
    """The previous attempt proves nothing about the next one."""
    trace = await traced(HEADERS_1)
    trace.forget()
    assert trace.began_to_send is None


@asynchronous
async def test_the_trace_of_the_caller_hears_every_step() -> None:
    """It gets the same names and the same information."""
    heard: list[tuple[str, Mapping[str, Any]]] = []

    async def mine(name: str, info: Mapping[str, Any]) -> None:
        heard.append((name, info))

    steps = [(name, of("POST")) for name in (*CONNECTING, HEADERS_1)]
    trace = SendTrace("POST", mine)
    for step in steps:
        await trace(*step)
    assert heard == steps


@asynchronous
async def test_a_trace_of_the_caller_that_raises_takes_no_evidence_away() -> None:
    """The step was noted before the caller's trace was called."""

    async def broken(name: str, _: Mapping[str, Any]) -> None:
        raise RuntimeError(name)

    trace = SendTrace("POST", broken)
    with pytest.raises(RuntimeError):
        await trace(HEADERS_1, of("POST"))
    assert trace.began_to_send is True


# What follows from it


@pytest.mark.parametrize("delivery", list(Delivery))
def test_what_the_inner_transport_states_goes_first(delivery: Delivery) -> None:
    """It has the best information; its statement applies to this attempt only."""
    request = get(extensions={"walltrack.delivery": delivery})
    assert delivery_after(request, by_httpcore(httpx.ConnectError("refused"))) is delivery
    assert request.extensions == {}


@pytest.mark.parametrize("stated", ["not_sent", True, None])
def test_a_statement_that_is_no_delivery_states_nothing(stated: object) -> None:
    """Any other value is no evidence, even text that looks like a delivery."""
    request = get(extensions={"walltrack.delivery": stated})
    assert delivery_after(request, httpx.ConnectError("refused")) is Delivery.UNCERTAIN


@asynchronous
@pytest.mark.parametrize(
    ("names", "error", "delivery"),
    [
        (CONNECTING, httpx.ReadError("while the proxy spoke"), Delivery.NOT_SENT),
        ([HEADERS_1], httpx.ConnectError("they call it"), Delivery.UNCERTAIN),
        ([], httpx.ConnectError("they call it"), Delivery.UNCERTAIN),
        ([], by_httpcore(httpx.ConnectError("refused")), Delivery.NOT_SENT),
        ([HEADERS_1], RequestRejectedError("things"), Delivery.NOT_SENT),
        ([HEADERS_1], ResponseTooLargeError("things", 5), Delivery.ANSWERED),
    ],
    ids=["seen: no", "seen: yes", "a stranger's", "httpcore's", "rejected here", "too large"],
)
async def test_what_was_seen_goes_before_what_can_be_concluded(
    names: list[str], error: Exception, delivery: Delivery
) -> None:
    """The class of an exception counts only if nothing was traced."""
    request = get(extensions={"trace": await traced(*names)})
    assert delivery_after(request, error) is delivery


def test_a_trace_of_the_callers_own_is_no_evidence() -> None:
    """It has no information about the sending."""
    request = get(extensions={"trace": print})
    assert delivery_after(request, httpx.ConnectError("refused")) is Delivery.UNCERTAIN


@asynchronous
@pytest.mark.parametrize("method", ["PATCH", "POST", "CONNECT"])
async def test_a_request_that_was_renamed_on_its_way_is_still_the_request(method: str) -> None:
    """An inner transport may send a PATCH as a POST: it was sent all the same."""
    trace = SendTrace(method, None)
    await trace("http11.send_request_headers.started", {"request": SimpleNamespace(method=b"POST")})
    assert trace.began_to_send is True


@pytest.mark.parametrize(
    ("delivery", "status", "acted"),
    [
        (Delivery.UNCERTAIN, None, True),
        (Delivery.ANSWERED, 500, True),
        (Delivery.ANSWERED, 429, False),
        (Delivery.NOT_SENT, None, False),
    ],
)
def test_a_request_that_is_sent_again_may_have_been_processed(
    delivery: Delivery, status: int | None, *, acted: bool
) -> None:
    """This is noted for the layers outside and stays noted; without layers it is not noted."""
    shared = SharedCall()
    note_repeated(get(extensions={SHARED_CALL: shared}), delivery, status)
    assert shared.may_have_acted is acted
    shared.may_have_acted = True
    note_repeated(get(extensions={SHARED_CALL: shared}), Delivery.NOT_SENT, None)
    assert shared.may_have_acted
    alone = get()
    note_repeated(alone, delivery, status)
    assert alone.extensions == {}
