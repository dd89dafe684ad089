import weakref

import anyio
import httpx
import pytest

from tests.support import Body, Scripted, Step, get, post, without_gc
from walltrack import CircuitBreakerOpenError, Delivery
from walltrack.core.extensions import DELIVERY, GATE, TRACE
from walltrack.core.statuses import DEFAULT_RETRY_STATUSES
from walltrack.hedging.pair import Pair, Send
from walltrack.http.cancellation import OwnCancellation
from walltrack.http.evidence import SendTrace

pytestmark = pytest.mark.anyio


class Open:
    """A gate that is always open."""

    def shut_for(self) -> float:
        return 0.0


def answer(status: int) -> httpx.Response:
    """A response whose body is open."""
    return httpx.Response(status, stream=Body(b"x"))


async def make(pair: Pair, first: Step | None, second: Step | None = None) -> Pair:
    """The pair after its attempts were made, the first one last, as if it took longer."""
    both, own = anyio.CancelScope(), OwnCancellation()
    if second is not None:
        await pair.add_second().make(by_script(second), both, own)
    if first is not None:
        await pair.first.make(by_script(first), both, own)
    return pair


def by_script(step: Step) -> Send:
    """A function that sends a request, which a script answers."""

    async def send(request: httpx.Request) -> tuple[httpx.Response, bool]:
        response = await Scripted(step).handle_async_request(request)
        return response, response.status_code not in DEFAULT_RETRY_STATUSES

    return send


def not_sent(request: httpx.Request) -> httpx.Response:
    """A transport that states that it sent nothing."""
    request.extensions[DELIVERY] = Delivery.NOT_SENT
    raise httpx.ReadError("scripted")


@pytest.mark.parametrize(
    ("first", "second", "decided"),
    [
        (200, None, True),
        (503, None, True),
        (httpx.ReadError, None, True),
        (None, None, False),
        (None, 503, False),
        (None, httpx.ReadError, False),
        (None, 200, True),
        (503, 503, True),
        (503, httpx.ReadError, True),
        (200, 503, True),
    ],
)
async def test_when_it_is_decided(
    first: Step | None, second: Step | None, *, decided: bool
) -> None:
    """By a good answer, or when no attempt in flight can give one."""
    assert (await make(Pair(get(), 0.0), first, second)).decided is decided


async def test_a_first_attempt_that_failed_waits_for_a_second_under_way() -> None:
    """The second attempt may still succeed."""
    pair = Pair(get(), 0.0)
    pair.add_second()
    assert not (await make(pair, 503)).decided


async def test_each_attempt_has_a_request_of_its_own() -> None:
    """Extensions set on it are not seen on the other, nor outside until the call ends."""
    request = get(headers={"a": "b"}, extensions={"c": "d"})
    pair = Pair(request, 0.0)
    second = pair.add_second()
    assert len({id(r.extensions) for r in (request, pair.first.request, second.request)}) == 3
    assert len({id(r.headers) for r in (request, pair.first.request, second.request)}) == 3
    assert second.request.headers == request.headers
    assert second.request.extensions["c"] == "d"
    assert second.request.stream is request.stream


@pytest.mark.parametrize(("first", "second"), [(200, 503), (503, 200), (503, 500), (200, 200)])
async def test_the_response_that_lost_is_released(first: int, second: int) -> None:
    """The winner is not touched; of two good responses the first attempt's wins."""
    responses = answer(first), answer(second)
    pair = await make(Pair(get(), 0.0), *responses)
    await pair.release_loser()
    winner, loser = responses[:: -1 if (first, second) == (503, 200) else 1]
    assert pair.outcome() is winner
    assert loser.is_closed
    assert not winner.is_closed


async def test_there_may_be_nothing_to_release() -> None:
    """This holds without a second attempt, or when it raised."""
    await (await make(Pair(get(), 0.0), 200)).release_loser()
    pair = await make(Pair(get(), 0.0), 200, httpx.ReadError)
    await pair.release_loser()
    assert pair.outcome().status_code == 200


async def test_closing_lets_go_of_everything() -> None:
    """This holds even if closing one of them fails."""

    class Stuck(Body):
        async def aclose(self) -> None:
            await super().aclose()
            raise httpx.CloseError("scripted")

    bodies = Stuck(), Stuck()
    pair = await make(Pair(get(), 0.0), *(httpx.Response(503, stream=body) for body in bodies))
    await pair.close()
    assert [body.closes for body in bodies] == [1, 1]
    await pair.close()
    await (await make(Pair(get(), 0.0), httpx.ReadError)).close()
    assert [body.closes for body in bodies] == [1, 1]


async def test_extensions_of_the_winners_request_are_copied() -> None:
    """The gate of the attempt, and what is known of its delivery; no other key."""
    gate = Open()

    def telling(request: httpx.Request) -> httpx.Response:
        request.extensions.update({GATE: gate, "other": 1})
        return httpx.Response(503)

    request = get()
    assert (await make(Pair(request, 0.0), telling, 500)).outcome().status_code == 503
    assert request.extensions == {GATE: gate}
    request = get()
    assert (await make(Pair(request, 0.0), telling, 200)).outcome().status_code == 200
    assert request.extensions == {}


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (None, Delivery.NOT_SENT),
        (not_sent, Delivery.NOT_SENT),
        (CircuitBreakerOpenError(), Delivery.NOT_SENT),
        (httpx.ReadError, Delivery.UNCERTAIN),
        (503, Delivery.UNCERTAIN),
    ],
)
async def test_not_sent_is_reported_only_if_neither_was_sent(
    second: Step | None, told: Delivery
) -> None:
    """Otherwise the first attempt's exception would mean that the server cannot have acted."""
    request = post()
    pair = await make(Pair(request, 0.0), not_sent, second)
    with pytest.raises(httpx.ReadError):
        pair.outcome()
    assert request.extensions == {DELIVERY: told}


async def test_an_answer_leaves_nothing_of_the_other_attempt() -> None:
    """What is known of the first attempt's delivery is dropped."""
    request = post()
    assert (await make(Pair(request, 0.0), not_sent, 200)).outcome().status_code == 200
    assert request.extensions == {}


async def test_a_class_that_says_not_sent_is_put_right() -> None:
    """An httpcore ConnectError is true of only one of the two attempts."""
    request = get()
    with pytest.raises(httpx.ConnectError):
        (await make(Pair(request, 0.0), httpx.ConnectError, httpx.ReadError)).outcome()
    assert request.extensions == {DELIVERY: Delivery.UNCERTAIN}
    request = get()
    with pytest.raises(httpx.ReadError):
        (await make(Pair(request, 0.0), httpx.ReadError, httpx.ConnectError)).outcome()
    assert request.extensions == {}


async def test_a_trace_hears_of_both() -> None:
    """A request of which one attempt was sent counts as sent."""

    async def sending(request: httpx.Request) -> httpx.Response:
        trace = request.extensions[TRACE]
        await trace("http11.send_request_headers.started", {"request": httpx.Request("POST", "")})
        raise httpx.ReadError("scripted")

    request = post(extensions={TRACE: SendTrace("POST", None)})
    with pytest.raises(httpx.ConnectError):
        (await make(Pair(request, 0.0), httpx.ConnectError, sending)).outcome()
    assert DELIVERY not in request.extensions
    assert request.extensions[TRACE].began_to_send


async def test_a_rejection_comes_back_as_it_is() -> None:
    """It is raised unchanged, and no extension is left on the request."""
    request = get()
    with pytest.raises(CircuitBreakerOpenError):
        (await make(Pair(request, 0.0), CircuitBreakerOpenError(), 503)).outcome()
    assert request.extensions == {}


@pytest.mark.parametrize("close", [False, True], ids=["delivered", "closed"])
async def test_the_exceptions_die_by_themselves(*, close: bool) -> None:
    """No frame in their tracebacks refers to them, so they need no garbage collector."""
    died: list[weakref.ref[Exception]] = []

    def reset(_: httpx.Request) -> httpx.Response:
        error = httpx.ReadError("reset")
        died.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error  # this frame, too, is in the traceback

    with without_gc():
        pair = await make(Pair(get(), 0.0), reset, reset)
        if close:
            await pair.close()
        else:
            with pytest.raises(httpx.ReadError):
                pair.outcome()
        assert [ref() for ref in died] == [None, None]


async def test_a_failed_answer_is_kept_without_what_it_holds() -> None:
    """Its body is read and closed once, and can still be read; a broken one is an exception."""
    body, broken = Body(b"do", b"wn"), Body(b"do", httpx.ReadError("reset"))
    pair = await make(Pair(get(), 0.0), httpx.Response(503, stream=body))
    assert await pair.first.keep()
    assert body.closes == 1
    response = pair.outcome()
    assert (response.status_code, await response.aread()) == (503, b"down")

    pair = await make(Pair(get(), 0.0), httpx.Response(503, stream=broken))
    assert await pair.first.keep()
    assert broken.closes == 1
    with pytest.raises(httpx.ReadError):
        pair.outcome()


async def test_a_failed_answer_that_is_kept_is_let_go_of_once() -> None:
    """This holds when the other attempt wins, and when the caller is gone."""
    for let_go in (Pair.release_loser, Pair.close):
        body = Body(b"down")
        pair = Pair(get(), 0.0)
        pair.add_second()
        await make(pair, httpx.Response(503, stream=body), 200)
        assert await pair.first.keep()
        await let_go(pair)
        assert body.closes == 1


async def test_a_failed_answer_that_is_too_long_is_not_kept() -> None:
    """It is returned whole, and holds its connection until it is read."""
    chunks = [b"x" * 40_000] * 2
    body = Body(*chunks)
    pair = await make(Pair(get(), 0.0), httpx.Response(503, stream=body))
    assert not await pair.first.keep()
    assert body.closes == 0
    assert await pair.outcome().aread() == b"".join(chunks)
    assert body.closes == 1


async def test_what_holds_nothing_need_not_be_kept() -> None:
    """For example an exception, or a response whose body is in memory."""
    for step in (httpx.ReadError, 503):
        assert await (await make(Pair(get(), 0.0), step)).first.keep()
