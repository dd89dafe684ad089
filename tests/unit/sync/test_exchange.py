import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import httpx2
import pytest

from tests.support import URL, Body, Endless, Scripted, Step, get, post, without_gc
from tests.unit.sync.conftest import SOON, Start, wait_until
from walltrack import Delivery, RetryTransport, TransportClosedError
from walltrack.sync.call import Job
from walltrack.sync.download import Download, Whole
from walltrack.sync.exchange import Exchange
from walltrack.sync.loop_thread import LoopThread
from walltrack.sync.network_stream import NetworkStream

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])


class Mailbox:
    """Counts how often a thread waits for the event loop."""

    def __init__(self, loop: LoopThread, monkeypatch: pytest.MonkeyPatch) -> None:
        self.crossings = 0
        soon = loop.soon

        def counted(function: Callable[..., object], *args: object) -> None:
            self.crossings += 1
            soon(function, *args)

        monkeypatch.setattr(loop, "soon", counted)


def send(loop: LoopThread, request: httpx.Request, *steps: Step) -> httpx.Response:
    """The response to a request that is sent in the event loop."""
    return Exchange(loop, None, Scripted(*steps), request).send()


def test_a_request_is_sent_as_it_is(loop: LoopThread) -> None:
    """One whose body is in memory is handed on, itself."""
    inner = Scripted(200)
    request = post(content=b"x")
    Exchange(loop, None, inner, request).send()
    assert inner.requests[0] is request


def test_a_response_in_memory_is_returned_as_it_is(loop: LoopThread) -> None:
    """A mock's, for instance."""
    response = httpx.Response(200, content=b"x")
    assert send(loop, get(), response) is response
    assert response.content == b"x"


def test_a_body_that_was_read_ahead_comes_with_its_response(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread crosses to the event loop once, and the connection is free when it is back."""
    body = Body(b"one", b"two")
    response = httpx.Response(200, headers={"content-length": "6"}, stream=body)
    mailbox = Mailbox(loop, monkeypatch)
    returned = Exchange(loop, None, RetryTransport(Scripted(response)), get()).send()
    assert body.closes == 1
    assert isinstance(returned.stream, Whole)
    assert returned.read() == b"onetwo"
    returned.close()
    assert mailbox.crossings == 1


def test_a_body_that_is_open_is_read_ahead(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread crosses no second time if it comes soon."""
    mailbox = Mailbox(loop, monkeypatch)
    response = send(loop, get(), httpx.Response(200, stream=Body(b"one", b"two")))
    assert isinstance(response.stream, Download)
    assert response.read() == b"onetwo"
    assert mailbox.crossings == 1


def test_a_response_that_the_inner_transport_read_can_be_read(loop: LoopThread) -> None:
    """Its content is in it; its stream is over."""

    async def read(_: httpx.Request) -> httpx.Response:
        response = httpx.Response(200, stream=Body(b"one"))
        await response.aread()
        return response

    response = send(loop, get(), read)
    assert response.read() == b"one"


def test_the_body_of_a_request_is_generated_in_the_thread(loop: LoopThread) -> None:
    """The request is the caller's again afterwards."""
    here = []

    def generate() -> Iterator[bytes]:
        here.append(threading.get_ident())
        yield b"one"

    async def echo(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=await request.aread())

    request = post(content=generate())
    stream = request.stream
    assert send(loop, request, echo).content == b"one"
    assert here == [threading.get_ident()]
    assert request.stream is stream


def test_the_request_is_the_callers_again_when_the_call_fails(loop: LoopThread) -> None:
    """Whatever happens to it."""
    trace = print
    request = post(content=iter([b"x"]), extensions={"trace": trace})
    stream = request.stream
    with pytest.raises(httpx.ReadError):
        send(loop, request, httpx.ReadError("broken"))
    assert request.stream is stream
    assert request.extensions["trace"] is trace


def test_a_trace_is_called_in_the_thread(loop: LoopThread) -> None:
    """A synchronous one, as synchronous clients have it."""
    traced = []

    def trace(name: str, info: Mapping[str, Any]) -> None:
        traced.append((name, info, threading.get_ident()))

    async def tracing(request: httpx.Request) -> httpx.Response:
        await request.extensions["trace"]("step", {"a": 1})
        return httpx.Response(200)

    send(loop, get(extensions={"trace": trace}), tracing)
    assert traced == [("step", {"a": 1}, threading.get_ident())]


def test_an_asynchronous_trace_is_called_in_the_event_loop(loop: LoopThread) -> None:
    """It is left as it is."""

    async def trace(*_: object) -> None:
        await anyio.lowlevel.checkpoint()

    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["trace"])
        return httpx.Response(200)

    send(loop, get(extensions={"trace": trace}), answer)
    assert seen == [trace]


def test_a_transport_of_the_other_family_is_explained(loop: LoopThread) -> None:
    """The error is the same as in the layers."""
    request: Any = httpx2.Request("GET", "http://127.0.0.1:1/")
    with pytest.raises(TypeError, match=r"one of httpx2.*one of httpx:"):
        Exchange(loop, None, httpx.AsyncHTTPTransport(), request).send()


def test_a_call_that_the_closing_ends_may_have_been_sent(loop: LoopThread, start: Start) -> None:
    """It is not known, if the inner transport does not say."""
    calls: list[httpx.Request] = []

    async def silence(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        await anyio.sleep_forever()
        raise AssertionError

    request = get()
    waiting = start(send, loop, request, silence)
    wait_until(lambda: calls)
    loop.stop()
    with pytest.raises(TransportClosedError) as caught:
        waiting.result(SOON)
    assert caught.value.delivery is Delivery.UNCERTAIN
    assert caught.value.request is request


def test_a_call_after_the_closing_was_not_sent(loop: LoopThread) -> None:
    """Its delivery is known to be not sent."""
    loop.stop()
    with pytest.raises(TransportClosedError) as caught:
        send(loop, get(), 200)
    assert caught.value.delivery is Delivery.NOT_SENT


class Switched:
    """A connection that speaks another protocol."""

    async def aclose(self) -> None:
        """Close it."""


@pytest.mark.parametrize(("method", "status"), [("GET", 101), ("CONNECT", 200)])
def test_what_follows_a_switch_of_protocols_is_no_body(
    loop: LoopThread, method: str, status: int
) -> None:
    """It is not read, unless the thread reads it as one; the connection is at hand."""
    body = Endless()
    extensions = {"network_stream": Switched()}
    answer = httpx.Response(status, stream=body, extensions=extensions)
    response = send(loop, httpx.Request(method, URL), answer)
    assert isinstance(response.extensions["network_stream"], NetworkStream)
    wait_until(lambda: loop._served)  # noqa: SLF001 - the task goes on
    assert body.read == 0
    stream: Any = response.stream
    assert next(stream) == b"x"
    stream.close()
    assert body.closes == 1


def test_a_network_stream_of_another_kind_is_left_alone(loop: LoopThread) -> None:
    """A mock may have put anything there."""
    answer = httpx.Response(200, extensions={"network_stream": "mock"})
    assert send(loop, get(), answer).extensions["network_stream"] == "mock"


def test_room_that_the_thread_made_meanwhile_is_not_waited_for(loop: LoopThread) -> None:
    """Between the reading of a chunk and the wait for room, the thread may take all of it."""
    exchange = Exchange(loop, None, Scripted(200), get())
    Job(loop, exchange._until_there_is_room).result()  # noqa: SLF001 - in the nick of time


@each_family
def test_a_closed_body_raises_the_exception_of_its_family(loop: LoopThread, home: Any) -> None:  # noqa: ANN401 - either family
    """As one that was closed by the client itself."""
    answer = home.Response(200, stream=Endless())
    stream: Any = send(loop, home.Request("GET", URL), lambda _: answer).stream
    stream.close()
    with pytest.raises(home.StreamClosed):
        next(stream)


def test_a_failed_call_leaves_nothing_to_the_garbage_collector(loop: LoopThread) -> None:
    """A program that fails a thousand times a second would feel it."""
    request = get()
    dropped = weakref.ref(request)
    with without_gc():
        with contextlib.suppress(httpx.ReadError):
            send(loop, request, httpx.ReadError)
        del request
        send(loop, get(), 200)
        wait_until(lambda: dropped() is None)
