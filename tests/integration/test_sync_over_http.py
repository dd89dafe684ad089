"""Synchronous clients over `SyncTransport`, over real sockets; and how their programs end."""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import httpx
import httpx2
import pytest

from tests.integration.fault_server import (
    Exchange,
    FaultServer,
    answer,
    close,
    cut,
    drip,
    falls_silent,
    head,
    hold,
    websocket,
)
from tests.unit.sync.conftest import SOON, loop_threads, wait_until
from walltrack import (
    Backoff,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    ConcurrencyLimitTransport,
    Delivery,
    HTTPTransport,
    RetryPolicy,
    RetryTransport,
    SyncTransport,
    TimeLimitExceededError,
    TransportClosedError,
    resilient_transport,
)

AT_ONCE = RetryPolicy(backoff=Backoff(base=0.0))
LARGE = b"x" * 2**20
Start = Callable[..., Future[Any]]
Client: TypeAlias = Any  # of httpx or of httpx2; to a type checker they have nothing in common


@dataclass(frozen=True)
class World:
    """A family of httpx, and an event loop."""

    home: Any
    backend: Literal["asyncio", "trio"]

    def client(self, inner: httpx.AsyncBaseTransport | None = None, **options: Any) -> Client:  # noqa: ANN401 - handed on
        """A client over `inner`, or over the standard stack."""
        stack = resilient_transport(retry=AT_ONCE, listener=None) if inner is None else inner
        transport = SyncTransport(stack, backend=self.backend)
        return self.home.Client(transport=transport, timeout=options.pop("timeout", SOON))


@pytest.fixture(params=[World(httpx, "asyncio"), World(httpx2, "trio")], ids=["httpx", "httpx2"])
def world(request: pytest.FixtureRequest) -> World:
    """One family on asyncio, the other on trio."""
    chosen: World = request.param
    return chosen


@pytest.fixture
def client(world: World, server: FaultServer) -> Iterator[Client]:
    """A client over the standard stack, that leaves neither thread nor connection."""
    with world.client() as made:
        yield made
    assert not loop_threads()
    wait_until(lambda: server.open_connections == 0)


@pytest.fixture
def start() -> Iterator[Start]:
    """Call a function in a thread of its own, as a future."""
    with ThreadPoolExecutor(40) as threads:
        yield threads.submit


def test_a_call_is_retried_until_it_is_answered(client: Client, server: FaultServer) -> None:
    """It is retried after a 503, a closed connection, and a body that breaks off."""
    server.will(answer(503), close, cut())
    response = client.get(server.url)
    assert (response.status_code, response.text) == (200, "ok")
    assert response.extensions["walltrack.attempts"] == 4
    for _ in range(10):
        client.get(server.url)
    assert server.connections == 3


def test_bodies_stream_in_both_directions(client: Client, server: FaultServer) -> None:
    """An upload from a generator and from a file; a download that is larger than the read-ahead."""
    server.default = answer(200, LARGE)
    with tempfile.TemporaryFile() as file:
        file.write(LARGE)
        for content in ((chunk for chunk in [b"one", b"two"]), file):
            file.seek(0)
            with client.stream("POST", server.url, content=content) as response:
                assert sum(map(len, response.iter_raw())) == len(LARGE)
        file.seek(0)
        client.post(server.url, files={"file": file})
    assert [len(seen.body) for seen in server.seen[:2]] == [6, len(LARGE)]
    assert LARGE in server.seen[2].body


def test_an_event_is_read_when_it_comes(client: Client, server: FaultServer) -> None:
    """The reader does not wait for the rest of the stream."""
    go_on = threading.Event()

    async def first(exchange: Exchange) -> None:
        kind = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        await exchange.send(head(200, kind) + b"3\r\none\r\n")
        await hold(go_on, second)(exchange)

    async def second(exchange: Exchange) -> None:
        await exchange.send(b"3\r\ntwo\r\n0\r\n\r\n")

    server.will(first)
    with client.stream("GET", server.url) as response:
        parts = response.iter_raw()
        assert next(parts) == b"one"
        go_on.set()
        assert list(parts) == [b"two"]


def test_a_body_that_can_be_read_once_is_sent_once(client: Client, server: FaultServer) -> None:
    """As with an asynchronous client, only a body in memory is sent again."""
    server.will(answer(503), answer(503))
    response = client.put(server.url, content=(chunk for chunk in [b"one"]))
    assert response.status_code == 503
    assert client.put(server.url, content=b"two").status_code == 200
    assert [seen.body for seen in server.seen] == [b"one", b"two", b"two"]


def test_what_a_generator_raises_comes_out_of_the_call(client: Client, server: FaultServer) -> None:
    """It is the same exception, with a traceback from the caller to the generator."""
    mine = ZeroDivisionError("mine")

    def generate() -> Iterator[bytes]:
        yield b"one"
        raise mine

    with pytest.raises(ZeroDivisionError) as caught:
        client.post(server.url, content=generate())
    assert caught.value is mine
    names = [entry.name for entry in caught.traceback]
    assert names[0] == "test_what_a_generator_raises_comes_out_of_the_call"
    assert names[-1] == "generate"
    wait_until(lambda: server.open_connections == 0)
    assert client.get(server.url).text == "ok"


def test_a_generator_may_use_the_client_itself(client: Client, server: FaultServer) -> None:
    """It runs in the thread of the caller, which the event loop does not wait for."""

    def generate() -> Iterator[bytes]:
        yield client.get(server.url).content
        with client.stream("GET", server.url) as response:
            yield from response.iter_raw()

    client.post(server.url, content=generate())
    assert server.seen[-1].body == b"okok"


def test_exceptions_are_of_the_family_of_the_client(
    world: World, client: Client, server: FaultServer
) -> None:
    """With their request, and the exception of the connection as their cause."""
    server.will(answer(), falls_silent(content_length="8"))
    client.get(server.url)
    once = {"walltrack.retry": False}
    timeout = world.home.Timeout(SOON, read=0.02)
    with pytest.raises(world.home.ReadTimeout) as caught:
        client.get(server.url, timeout=timeout, extensions=once)
    assert isinstance(caught.value.request, world.home.Request)
    assert caught.value.__cause__ is not None
    with pytest.raises(world.home.ConnectError):
        client.get("http://127.0.0.1:1/", extensions=once)


def test_a_deadline_ends_a_call_while_its_body_is_generated(
    world: World, server: FaultServer
) -> None:
    """It ends at the next chunk of the generator, since a thread cannot be interrupted."""
    struck = threading.Event()

    def generate() -> Iterator[bytes]:
        yield b"one"
        struck.wait(0.05)
        yield b"two"

    with world.client(resilient_transport(deadline=0.02, listener=None)) as client:
        with pytest.raises(TimeLimitExceededError):
            client.post(server.url, content=generate())
        assert client.get(server.url).status_code == 200


def test_threads_share_one_circuit_and_one_limit(
    world: World, server: FaultServer, start: Start
) -> None:
    """Sixty calls see one breaker open after 20 failures, and a limit of four holds for all."""
    together, most = 0, 0

    async def counted(exchange: Exchange) -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.001)
        together -= 1
        await answer(500)(exchange)

    server.default = counted
    breaker = CircuitBreakerTransport(HTTPTransport(), failure_threshold=20, listener=None)
    with world.client(ConcurrencyLimitTransport(breaker, limit=4)) as client:
        calls = [start(client.get, server.url) for _ in range(60)]
        errors = [call.exception(SOON) for call in calls]
    assert {type(error) for error in errors if error} == {CircuitBreakerOpenError}
    assert 20 <= len(server.seen) < 20 + 4
    assert 1 <= most <= 4


def test_calls_in_flight_end_when_the_client_is_closed(
    world: World, server: FaultServer, start: Start
) -> None:
    """They end in all threads, with their delivery; afterwards the transport can be used again."""
    server.default = falls_silent(content_length="8")
    transport = SyncTransport(resilient_transport(listener=None), backend=world.backend)
    client = world.home.Client(transport=transport, timeout=30)
    calls = [start(client.get, server.url) for _ in range(5)]
    wait_until(lambda: len(server.seen) == 5)
    client.close()
    assert not loop_threads()
    for call in calls:
        with pytest.raises(TransportClosedError) as caught:
            call.result(SOON)
        assert caught.value.delivery is Delivery.UNCERTAIN
        assert isinstance(caught.value, world.home.TransportError)
    wait_until(lambda: server.open_connections == 0)
    server.default = answer()
    with world.home.Client(transport=transport) as again:
        assert again.get(server.url).text == "ok"


def test_another_thread_may_close_a_response_that_is_being_read(
    world: World, client: Client, server: FaultServer, start: Start
) -> None:
    """The reader gets an exception, and the connection is closed."""
    server.will(falls_silent(transfer_encoding="chunked"))
    response = client.send(client.build_request("GET", server.url), stream=True)
    reading = start(response.read)
    wait_until(lambda: response.num_bytes_downloaded == 4)
    response.close()
    with pytest.raises(world.home.StreamClosed):
        reading.result(SOON)
    wait_until(lambda: server.open_connections == 0)


def test_a_response_that_is_closed_early_leaves_its_connection(
    world: World, server: FaultServer
) -> None:
    """The only connection of the pool can be used again."""
    server.will(answer(200, LARGE), drip(every=0.001, times=100))
    limits = world.home.Limits(max_connections=1)
    with world.client(RetryTransport(HTTPTransport(limits=limits))) as client:
        for _ in range(2):
            with client.stream("GET", server.url) as response:
                next(response.iter_raw(1))
        assert client.get(server.url).text == "ok"


def test_a_coroutine_may_make_a_synchronous_call(client: Client, server: FaultServer) -> None:
    """It blocks its own event loop, and not the one that serves it."""

    async def main() -> str:
        text: str = client.get(server.url).text
        return text

    assert asyncio.run(main()) == "ok"


def test_the_layers_see_the_context_of_the_caller(
    world: World, server: FaultServer, start: Start
) -> None:
    """A listener sees the trace id of the thread that made the call."""
    trace_id = ContextVar("trace_id", default="none")
    seen = set()

    def call(client: Client, name: str) -> None:
        trace_id.set(name)
        client.get(server.url)

    def listen(event: object) -> None:
        seen.add((getattr(event, "name", ""), trace_id.get()))

    server.will(answer(503), answer(503))
    with world.client(resilient_transport(retry=AT_ONCE, listener=listen)) as client:
        start(call, client, "a").result(SOON)
    assert ("retry_scheduled", "a") in seen
    assert {name for _, name in seen} == {"a"}


def test_a_trace_of_the_caller_is_called(client: Client, server: FaultServer) -> None:
    """It is synchronous, as for any synchronous client, and runs in the thread of the caller."""
    steps = set()

    def trace(name: str, _: object) -> None:
        steps.add((name, threading.get_ident()))

    client.post(server.url, content=b"x", extensions={"trace": trace})
    here = threading.get_ident()
    assert ("connection.connect_tcp.started", here) in steps
    assert ("http11.receive_response_headers.complete", here) in steps


def test_a_websocket_of_httpx2_passes(server: FaultServer) -> None:
    """Its session reads in one thread and writes in another."""
    server.will(websocket)
    with (
        World(httpx2, "asyncio").client() as client,
        client.websocket(server.url.replace("http:", "ws:")) as session,
    ):
        assert session.receive_text() == "hi"
        session.send_text("ho")


def test_type_checkers_take_it_for_a_transport_of_either_family() -> None:
    """This passes a type checker as it stands."""
    transport = SyncTransport(resilient_transport())
    with contextlib.closing(httpx.Client(transport=transport)):
        pass
    with contextlib.closing(httpx2.Client(transport=transport)):
        pass


# How programs end

PROGRAM = """
import contextlib, os, sys, threading, warnings
import httpx
from walltrack import SyncTransport, resilient_transport

URL = sys.argv[1]
client = httpx.Client(transport=SyncTransport(resilient_transport(listener=None)), timeout=30)
"""


def run(
    server: FaultServer,
    script: str,
    meanwhile: Callable[["subprocess.Popen[str]"], object] = lambda _: None,
) -> str:
    """What a program prints, which ends well and complains of nothing."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM + script, server.url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603 - our own script
        try:
            meanwhile(process)
            printed, complaints = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, complaints) == (0, "")
    return printed


def test_a_program_that_forgets_to_close_ends(server: FaultServer) -> None:
    """With a call in flight in a daemon, a response open, and nothing that warns of a resource."""
    server.will(answer(), answer(200, LARGE), falls_silent(content_length="8"))
    script = """
def in_flight():
    with contextlib.suppress(httpx.TransportError):
        client.get(URL)

client.get(URL)
response = client.send(client.build_request("GET", URL), stream=True)
threading.Thread(target=in_flight, daemon=True).start()
sys.stdin.read()
print("the end")
"""
    assert run(server, script, lambda _: wait_until(lambda: len(server.seen) == 3)) == "the end\n"


def test_a_trace_is_called_while_a_body_is_read(server: FaultServer) -> None:
    """Also where the body streams, after the response was returned."""
    server.default = answer(200, b"x" * 300_000)
    traced: list[str] = []
    with httpx.Client(transport=SyncTransport(HTTPTransport())) as client:
        extensions = {"trace": lambda name, _: traced.append(name)}
        response = client.get(server.url, extensions=extensions)
    assert len(response.content) == 300_000
    assert "http11.receive_response_body.complete" in traced
    assert response.request.extensions["trace"] is extensions["trace"]


def read_a_chunk(response: Any) -> None:  # noqa: ANN401 - of either family
    """Read the first chunk of a body."""
    next(response.iter_raw())


def close_early(client: Client, response: Any) -> None:  # noqa: ANN401 - as above
    """Close a response before its end."""
    del client
    read_a_chunk(response)
    response.close()


def drop_early(client: Client, response: Any) -> None:  # noqa: ANN401 - as above
    """Keep no reference to a response, of which a part was read."""
    del client
    read_a_chunk(response)


def leave_unread(client: Client, response: Any) -> None:  # noqa: ANN401 - as above
    """Read nothing, and keep no reference."""
    del client, response


def close_transport(client: Client, response: Any) -> None:  # noqa: ANN401 - as above
    """Close the transport while the response is open, from the same thread."""
    read_a_chunk(response)
    client._transport.close()  # noqa: SLF001 - without closing the client
    response.close()


def close_transport_elsewhere(client: Client, response: Any) -> None:  # noqa: ANN401 - as above
    """Close the transport from another thread while nothing reads the response."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(client._transport.close).result(SOON)  # noqa: SLF001 - as above
    response.close()


def leave_transport(client: Client, response: Any) -> None:  # noqa: ANN401 - as above
    """Have the last client that was opened by `with` close the transport."""
    with client._transport:  # noqa: SLF001 - as above
        read_a_chunk(response)
    response.close()


@pytest.mark.parametrize("size", ["endless", "short"])
@pytest.mark.parametrize(
    "end",
    [
        close_early,
        drop_early,
        leave_unread,
        close_transport,
        close_transport_elsewhere,
        leave_transport,
    ],
)
def test_a_trace_holds_no_call_up(
    world: World, server: FaultServer, end: Callable[[Client, Any], None], size: str
) -> None:
    """A thread that no longer waits for a call is not waited for: nor is its trace called."""
    traced: list[str] = []
    extensions = {"trace": lambda name, _: traced.append(name)}
    server.will(drip(every=0.001, times=10_000) if size == "endless" else drip(every=0.0, times=2))
    with contextlib.closing(world.client(HTTPTransport())) as client:
        request = client.build_request("GET", server.url, extensions=extensions)
        response = client.send(request, stream=True)
        end(client, response)
        del response
        gc.collect()
        assert client.get(server.url).status_code == 200
        if size == "endless":  # else the first one may be free for the next request
            wait_until(lambda: server.open_connections == 1)
    assert "http11.receive_response_headers.complete" in traced
    closed = "http11.response_closed.complete" in traced
    assert closed or end is not close_early
    wait_until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("step", range(1, 13))
def test_an_interrupt_in_a_trace_holds_no_call_up(
    world: World, server: FaultServer, step: int
) -> None:
    """KeyboardInterrupt comes out, whatever step is traced; the next call is answered."""
    names: list[str] = []

    def trace(name: str, _: object) -> None:
        names.append(name)
        if len(names) == step:
            raise KeyboardInterrupt

    server.will(drip(every=0.0, times=3))
    with world.client(HTTPTransport()) as client:
        with (
            pytest.raises(KeyboardInterrupt),
            client.stream("GET", server.url, extensions={"trace": trace}) as response,
        ):
            response.read()
        assert len(names) == step
        assert client.get(server.url).status_code == 200
    wait_until(lambda: server.open_connections == 0)


def test_an_interrupt_cancels_the_call(server: FaultServer) -> None:
    """It ends at once, its connection is closed, and the client can be used again."""
    server.will(falls_silent(content_length="8"))
    script = """
try:
    client.get(URL)
except KeyboardInterrupt:
    print("interrupted")
sys.stdin.read()
print(client.get(URL).text)
client.close()
print(threading.active_count())
"""

    def interrupt(process: "subprocess.Popen[str]") -> None:
        wait_until(lambda: server.seen)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: server.open_connections == 0)

    assert run(server, script, interrupt) == "interrupted\nok\n1\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_is_told_that_its_event_loop_stayed_behind(server: FaultServer) -> None:
    """It may close the client and use it again, and the parent is not disturbed."""
    script = """
client.get(URL)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of fork, in a program with threads
    child = os.fork()
if not child:
    try:
        client.get(URL)
    except RuntimeError as error:
        print("before os.fork()" in str(error))
    client._transport.close()
    print(client.get(URL).text)
    sys.exit()
os.waitpid(child, 0)
print(client.get(URL).text)
client.close()
"""
    assert run(server, script) == "True\nok\nok\n"
