# ruff: noqa: SLF001 - which event loop serves the calls is not to be seen from outside
import asyncio
import contextlib
import errno
import gc
import signal
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import anyio
import anyio.to_thread
import httpx
import httpx2
import pytest

from tests.support import URL, Clock, Endless, Scripted
from tests.unit.sync.conftest import SOON, Start, loop_threads, wait_until
from walltrack import (
    CircuitBreakerTransport,
    ConcurrencyLimitTransport,
    Event,
    HTTPTransport,
    RetryTransport,
    SyncTransport,
    TransportClosedError,
)
from walltrack.sync import loop_thread
from walltrack.sync import transport as transport_module
from walltrack.sync.loop_thread import Backend

both_families = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])


@contextlib.contextmanager
def client(inner: Any, backend: Backend = "asyncio") -> Iterator[httpx.Client]:  # noqa: ANN401 - any transport
    """A client over a transport, never opened by `with`."""
    made = httpx.Client(transport=SyncTransport(inner, backend=backend))
    try:
        yield made
    finally:
        made.close()


def test_a_client_sends_through_the_layers(backend: Backend, clock: Clock) -> None:
    """Retries, as beneath an asynchronous client."""
    inner = Scripted(503, 503, 200)
    with client(RetryTransport(inner, sleep=clock.sleep, listener=None), backend) as made:
        response = made.get(URL)
    assert (response.status_code, response.extensions["walltrack.attempts"]) == (200, 3)
    assert clock.sleeps == [1.0, 2.0]
    assert inner.closed == 1


def test_the_call_after_an_interrupt_within_a_step_gets_a_new_event_loop() -> None:
    """It waits until the old one has ended, which may still have a place of a layer."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            signal.raise_signal(signal.SIGINT)
        return httpx.Response(200)

    limited = ConcurrencyLimitTransport(httpx.MockTransport(answer), 1, listener=None)
    with client(limited) as made:
        made.get(URL)
        transport: Any = made._transport
        interrupted = transport._loop
        wait_until(lambda: interrupted._events.thread is None)
        with pytest.raises(KeyboardInterrupt):
            made.delete(URL)
        assert made.get(URL).status_code == 200
        assert transport._loop is not interrupted
        assert len(loop_threads()) == 1


def test_no_thread_is_started_before_the_first_call() -> None:
    """A client that is made and not used costs nothing, and is closed without one."""
    inner = Scripted(200)
    transport = SyncTransport(inner)
    transport.close()
    assert not loop_threads()
    assert inner.closed == 0


@both_families
def test_without_a_file_left_for_an_event_loop_a_call_fails_to_connect(
    home: Any,  # noqa: ANN401 - either family
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an exception of the client, which the next call does not meet again."""

    def exhausted(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    mock = home.MockTransport(lambda _: home.Response(200))
    made = home.Client(transport=SyncTransport(mock))
    with monkeypatch.context() as patch:
        patch.setattr(transport_module, "LoopThread", exhausted)
        with pytest.raises(home.ConnectError, match="Too many open files") as caught:
            made.get(URL)
    assert isinstance(caught.value.__cause__, OSError)
    assert made.get(URL).status_code == 200
    made.close()


@both_families
def test_it_belongs_to_the_families_of_the_inner_transport(home: ModuleType) -> None:
    """As the layers do."""
    mock = home.MockTransport(lambda _: home.Response(200))
    transport = SyncTransport(mock)
    assert isinstance(transport, home.BaseTransport)
    assert not isinstance(transport, httpx.AsyncBaseTransport)
    bases = [base for base in type(transport).__mro__ if base.__name__ == "BaseTransport"]
    assert {base.__module__.partition(".")[0] for base in bases} >= {home.__name__}
    assert isinstance(SyncTransport(HTTPTransport()), home.BaseTransport)


def test_the_family_of_the_inner_transport_comes_first() -> None:
    """SDKs take from it for which client a transport is made."""
    mock = httpx2.MockTransport(lambda _: httpx2.Response(200))
    families = [httpx.BaseTransport, httpx2.BaseTransport]
    order = [base for base in type(SyncTransport(mock)).__mro__ if base in families]
    assert order == families[::-1]


@both_families
def test_a_client_of_either_family_is_served(home: Any) -> None:  # noqa: ANN401 - either family
    """By one transport, with the objects that it knows."""
    inner = RetryTransport(home.MockTransport(lambda _: home.Response(200, text="ok")))
    with home.Client(transport=SyncTransport(inner)) as made:
        assert made.post(URL, content=iter([b"x"])).text == "ok"


@pytest.mark.parametrize("wrong", [httpx.HTTPTransport(), RetryTransport, "https://api.test", 5])
def test_what_is_no_asynchronous_transport_is_refused(wrong: Any) -> None:  # noqa: ANN401 - anything
    """When it is given, with what to give."""
    with pytest.raises(TypeError, match="transport must be an asynchronous httpx transport"):
        SyncTransport(wrong)


def test_an_unknown_event_loop_is_refused() -> None:
    """With the names of those that there are."""
    wrong: Any = "curio"
    with pytest.raises(ValueError, match="backend must be one of 'asyncio', 'trio'; got 'curio'"):
        SyncTransport(backend=wrong)


def test_it_is_shown_as_it_could_be_typed() -> None:
    """The inner transport, and the event loop unless it is the usual one."""
    inner = CircuitBreakerTransport(Scripted(200))
    shown = "SyncTransport(CircuitBreakerTransport(Scripted(), 0 breakers)"
    assert repr(SyncTransport(inner)) == f"{shown})"
    assert repr(SyncTransport(inner, backend="trio")) == f"{shown}, backend='trio')"
    assert repr(SyncTransport()) == "SyncTransport(HTTPTransport())"


def test_a_client_that_is_opened_enters_and_leaves_once(backend: Backend) -> None:
    """Leaving is not closing, too; the thread ends."""
    inner = Scripted(200)
    with httpx.Client(transport=SyncTransport(inner, backend=backend)) as made:
        assert (inner.entered, inner.exited) == (1, 0)
        made.get(URL)
    assert (inner.entered, inner.exited, inner.closed) == (1, 1, 0)
    assert not loop_threads()


def test_the_last_client_that_shares_it_closes_it() -> None:
    """The others leave it."""
    inner = Scripted(200)
    transport = SyncTransport(inner)
    with httpx.Client(transport=transport) as one:
        with httpx.Client(transport=transport):
            pass
        assert len(loop_threads()) == 1
        one.get(URL)
    assert (inner.entered, inner.exited, inner.closed) == (2, 2, 0)
    assert not loop_threads()


def test_a_call_is_refused_while_the_last_client_closes_it(backend: Backend, start: Start) -> None:
    """It would open a connection that nothing closes."""
    leaving, may_leave = threading.Event(), threading.Event()

    class Slow(Scripted):
        async def __aexit__(self, *why: Any) -> None:  # noqa: ANN401, PYI036 - handed on
            leaving.set()
            await anyio.to_thread.run_sync(may_leave.wait, SOON)
            await super().__aexit__(*why)

    inner = Slow(200)
    transport = SyncTransport(inner, backend=backend)
    transport.__enter__()
    closing = start(transport.__exit__)
    assert leaving.wait(SOON)
    try:
        with pytest.raises(TransportClosedError):
            httpx.Client(transport=transport).get(URL)
    finally:
        may_leave.set()
    assert closing.result(SOON) is None
    assert inner.requests == []


def test_closing_closes_it_at_once() -> None:
    """Also while another client has it open, which may use it again."""
    inner = Scripted(200)
    transport = SyncTransport(inner)
    with httpx.Client(transport=transport) as one:
        transport.close()
        assert not loop_threads()
        assert (inner.entered, inner.exited, inner.closed) == (1, 1, 1)
        one.get(URL)
    assert (inner.entered, inner.exited, inner.closed) == (1, 1, 2)


def test_it_can_be_used_again_after_closing(backend: Backend) -> None:
    """In a new event loop."""
    inner = Scripted(200)
    transport = SyncTransport(RetryTransport(inner), backend=backend)
    for times in (1, 2):
        with httpx.Client(transport=transport) as made:
            made.get(URL)
        assert len(inner.requests) == times


def test_what_entering_raises_is_raised_and_leaves_no_thread() -> None:
    """Another client that has it open keeps it open."""

    class Once(Scripted):
        async def __aenter__(self) -> Any:  # noqa: ANN401 - as in the base class
            await super().__aenter__()
            if self.entered == 1:
                return self
            raise LookupError("mine")

    transport = SyncTransport(Once(200))
    with httpx.Client(transport=transport) as one:
        with pytest.raises(LookupError, match="mine"):
            transport.__enter__()
        one.get(URL)
    with pytest.raises(LookupError, match="mine"):
        transport.__enter__()
    assert not loop_threads()


def test_what_closing_raises_is_raised_and_leaves_no_thread() -> None:
    """It can be used again."""

    class Unclosable(Scripted):
        async def aclose(self) -> None:
            raise LookupError("mine")

    transport = SyncTransport(Unclosable(200))
    with httpx.Client(transport=transport) as made:
        made.get(URL)
        with pytest.raises(LookupError, match="mine"):
            transport.close()
        assert not loop_threads()


def test_a_call_in_flight_ends_when_it_is_closed(backend: Backend, start: Start) -> None:
    """Another thread closes it: the calls of all threads raise at once."""
    asked = []

    async def silence(_: httpx.Request) -> httpx.Response:
        asked.append(1)
        await anyio.sleep_forever()
        raise AssertionError

    transport = SyncTransport(Scripted(silence), backend=backend)
    made = httpx.Client(transport=transport)
    waiting = [start(made.get, URL) for _ in range(3)]
    wait_until(lambda: len(asked) == 3)
    transport.close()
    for call in waiting:
        with pytest.raises(TransportClosedError):
            call.result(SOON)


def test_threads_that_close_it_wait_until_it_is_closed(start: Start) -> None:
    """The second one as well."""
    closing, going_on = threading.Event(), threading.Event()

    class Slow(Scripted):
        async def aclose(self) -> None:
            closing.set()
            going_on.wait(SOON)

    transport = SyncTransport(Slow(200))
    httpx.Client(transport=transport).get(URL)
    first = start(transport.close)
    assert closing.wait(SOON)
    second = start(transport.close)
    assert not second.done()
    going_on.set()
    first.result(SOON)
    second.result(SOON)
    assert not loop_threads()


def test_a_transport_that_is_dropped_ends_its_thread() -> None:
    """And closes the inner transport."""
    inner = Scripted(200)
    made = httpx.Client(transport=SyncTransport(inner))
    made.get(URL)
    assert loop_threads()
    del made
    gc.collect()
    wait_until(lambda: not loop_threads())
    assert inner.closed == 1


def test_a_response_keeps_its_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function may return it, and drop the client."""
    monkeypatch.setattr(loop_thread, "_UNWINDING_SECONDS", 0.0)
    go_on = threading.Event()

    class Late(Endless):
        async def next_chunk(self) -> bytes:
            while not go_on.is_set():  # noqa: ASYNC110 - the test sets it in another thread
                await anyio.sleep(0.001)
            return await super().next_chunk()

    def stream() -> httpx.Response:
        made = httpx.Client(
            transport=SyncTransport(Scripted(lambda _: httpx.Response(200, stream=Late())))
        )
        return made.send(made.build_request("GET", URL), stream=True)

    response = stream()
    gc.collect()
    go_on.set()
    assert next(response.iter_raw()) == b"x"
    del response
    gc.collect()
    wait_until(lambda: not loop_threads())


def test_a_response_that_is_dropped_is_closed() -> None:
    """Its connection would be lost, and its place in a limit."""
    body = Endless()
    with client(Scripted(lambda _: httpx.Response(200, stream=body))) as made:
        made.send(made.build_request("GET", URL), stream=True)
        gc.collect()
        wait_until(lambda: body.closes == 1)


def test_the_event_loop_itself_cannot_use_it() -> None:
    """A listener would wait for its own call: every way of using it raises an error."""
    transports: list[SyncTransport] = []
    refused = []

    def listen(event: Event) -> None:
        if event.name != "retry_scheduled":
            return
        (transport,) = transports
        attempts = (
            lambda: httpx.Client(transport=transport).get(URL),
            transport.close,
            transport.__enter__,
            transport.__exit__,
        )
        for attempt in attempts:
            with pytest.raises(RuntimeError, match="own event loop"):
                attempt()
            refused.append(attempt)

    retry = RetryTransport(Scripted(503, 200), sleep=Clock().sleep, listener=listen)
    transports.append(SyncTransport(retry))
    with httpx.Client(transport=transports[0]) as made:
        assert made.get(URL).status_code == 200
    assert len(refused) == 4


def test_a_coroutine_may_use_it(backend: Backend) -> None:
    """It blocks its own event loop, as any synchronous client does, and not that of the bridge."""

    async def main() -> int:
        with client(RetryTransport(Scripted(200)), backend) as made:
            return made.get(URL).status_code

    assert asyncio.run(main()) == 200
    assert anyio.run(main, backend="trio") == 200


def test_a_client_that_another_process_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fork it cannot be used, until it is closed there: then it has a loop of its own."""
    transport = SyncTransport(Scripted(200))
    made = httpx.Client(transport=transport)
    with made:
        made.get(URL)
        parents = transport._loop
        assert parents is not None
        with monkeypatch.context() as patch:
            patch.setattr(loop_thread, "getpid", lambda: -1)
            with pytest.raises(RuntimeError, match="after the fork"):
                made.get(URL)
            transport.__exit__()
            assert not parents.closing
            assert made.get(URL).status_code == 200
            transport.close()
        parents.stop()


def test_an_event_loop_that_broke_down_is_replaced() -> None:
    """The next call has another one."""
    transport = SyncTransport(Scripted(200))
    with httpx.Client(transport=transport) as made:
        made.get(URL)
        transport._loop.stop()  # type: ignore[union-attr]
        assert made.get(URL).status_code == 200
        assert len(loop_threads()) == 1


@pytest.mark.anyio
async def test_an_asynchronous_client_is_told_what_to_take_instead() -> None:
    """The mistake the other way round has an error of its own, too."""
    with SyncTransport(Scripted(200)) as transport:
        client = httpx.AsyncClient(transport=transport)
        with pytest.raises(TypeError, match=r"^a SyncTransport is for httpx\.Client"):
            async with client:
                pass
