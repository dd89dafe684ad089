import asyncio
from types import ModuleType
from typing import Any

import anyio
import h2.exceptions
import httpcore2
import httpx
import httpx2
import pytest

from tests.support import get, post
from tests.unit.http.fake_core import Core
from walltrack import HTTPTransport, TransportClosedError

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("home", [httpx, httpx2], ids=lambda home: home.__name__)
PROXY = "http://me:hunter2@proxy.test:3128"
FULL = h2.exceptions.TooManyStreamsError("Max outbound streams is 10, 10 open")


@BOTH
async def test_a_request_is_sent_as_it_is(core: type[Core], home: Any) -> None:  # noqa: ANN401 - a module
    """Its method, target, headers, body and extensions are sent unchanged."""
    request = home.Request(
        "POST",
        "https://api.test:8443/a%20b?c=d",
        headers={"X-Case": "Kept"},
        content=b"body",
        extensions={"timeout": {"read": 1.0}, "trace": None},
    )
    async with HTTPTransport() as transport:
        await transport.handle_async_request(request)
    [sent] = core.made[0].requests
    assert (sent.method, sent.url.scheme, sent.url.host, sent.url.port, sent.url.target) == (
        b"POST",
        b"https",
        b"api.test",
        8443,
        b"/a%20b?c=d",
    )
    assert sent.headers == request.headers.raw
    assert (b"X-Case", b"Kept") in sent.headers
    assert sent.stream is request.stream
    assert sent.extensions is request.extensions


@BOTH
async def test_a_response_is_handed_over_as_it_came(core: type[Core], home: Any) -> None:  # noqa: ANN401 - a module
    """It is of the request's family, and its body is still to be read."""
    async with HTTPTransport() as transport:
        response = await transport.handle_async_request(home.Request("GET", "http://api.test"))
        assert isinstance(response, home.Response)
        assert isinstance(response.stream, home.AsyncByteStream)
        assert (response.status_code, response.reason_phrase) == (200, "Fine")
        assert response.headers.raw == [(b"X-Case", b"Kept")]
        assert response.http_version == "HTTP/1.1"
        assert not response.is_closed
        assert await response.aread() == b"ok"
        assert core.made[0].bodies[0].closed == 1


@BOTH
async def test_errors_are_those_of_the_requests_family(core: type[Core], home: Any) -> None:  # noqa: ANN401 - a module
    """Their cause is httpcore2's exception; others propagate unchanged."""
    cause, defect = httpcore2.ConnectError("refused"), RuntimeError("defect")
    core.steps[:] = [cause, defect]
    transport = HTTPTransport()
    with pytest.raises(home.ConnectError, match="refused") as caught:
        await transport.handle_async_request(home.Request("GET", "http://api.test"))
    assert caught.value.__cause__ is cause
    with pytest.raises(RuntimeError) as raised:
        await transport.handle_async_request(home.Request("GET", "http://api.test"))
    assert raised.value is defect


async def test_a_body_that_is_not_asynchronous_is_refused(core: type[Core]) -> None:
    """It is refused before anything is sent."""
    transport = HTTPTransport()
    with pytest.raises(TypeError, match="body of the request must be asynchronous"):
        await transport.handle_async_request(post(content=iter([b"one"])))
    assert core.made == []


async def test_a_request_of_neither_family_is_refused() -> None:
    """The error text says what is accepted."""

    class Stranger:
        stream = httpx.ByteStream(b"")

    stranger: Any = Stranger()
    with pytest.raises(TypeError, match="request must be a Request of httpx or httpx2"):
        await HTTPTransport().handle_async_request(stranger)


async def test_it_can_be_used_again_after_it_was_closed(core: type[Core]) -> None:
    """It makes new connections, any number of times."""
    transport = HTTPTransport()
    for _ in range(3):
        await transport.handle_async_request(get())
        await transport.aclose()
        await transport.aclose()
    assert [fake.closed for fake in core.made] == [1, 1, 1]


async def test_closing_what_was_never_used_does_nothing(core: type[Core]) -> None:
    """No connection is made only to be closed."""
    await HTTPTransport().aclose()
    assert core.made == []


async def test_clients_that_share_it_close_it_together(core: type[Core]) -> None:
    """The first client that closes does not end the calls of the others."""
    transport = HTTPTransport()
    async with transport:
        async with transport:
            await transport.handle_async_request(get())
        assert core.made[0].closed == 0
    assert core.made[0].closed == 1
    async with transport:
        await transport.handle_async_request(get())
        async with transport:
            await transport.aclose()
            assert core.made[1].closed == 1


async def test_a_context_that_is_left_without_being_entered_closes(core: type[Core]) -> None:
    """Some wrappers forward only `__aexit__`."""
    transport = HTTPTransport()
    await transport.handle_async_request(get())
    await transport.__aexit__(None, None, None)
    assert core.made[0].closed == 1


async def test_a_response_that_comes_after_the_closing_is_closed(core: type[Core]) -> None:
    """The call began before the closing and fails, even if the transport is in use again."""
    transport = HTTPTransport()

    async def close_and_open(request: httpcore2.Request) -> None:
        del request
        await transport.aclose()
        await transport.handle_async_request(get())

    core.steps[:] = [close_and_open]
    with pytest.raises(TransportClosedError, match="before the response was complete"):
        await transport.handle_async_request(get())
    assert [body.closed for body in core.made[0].bodies] == [1]
    assert [body.closed for body in core.made[1].bodies] == [0]


async def test_an_error_after_the_closing_is_our_own(core: type[Core]) -> None:
    """It must not count against the server."""
    transport = HTTPTransport()
    error = httpcore2.ReadError("closed under it")

    async def close(request: httpcore2.Request) -> None:
        del request
        await transport.aclose()
        raise error

    core.steps[:] = [close]
    with pytest.raises(TransportClosedError) as caught:
        await transport.handle_async_request(get())
    assert caught.value.__cause__ is error
    assert caught.value.request is not None


@BOTH
async def test_a_connection_out_of_streams_is_replaced(core: type[Core], home: Any) -> None:  # noqa: ANN401 - a module
    """The request was not sent, so another connection sends it; calls on the old one continue."""
    transport = HTTPTransport()
    first = await transport.handle_async_request(home.Request("GET", "http://api.test"))
    core.steps[:] = [httpcore2.LocalProtocolError(FULL)]
    for _ in range(2):
        response = await transport.handle_async_request(home.Request("GET", "http://api.test"))
        assert response.status_code == 200
    assert [len(fake.requests) for fake in core.made] == [2, 2]
    assert [fake.closed for fake in core.made] == [0, 0]
    await first.aclose()
    assert [fake.closed for fake in core.made] == [1, 0]


async def test_an_idle_pool_that_is_replaced_is_closed_at_once(core: type[Core]) -> None:
    """It has no call in flight whose end could close it."""
    core.steps[:] = [httpcore2.LocalProtocolError(FULL)]
    await HTTPTransport().handle_async_request(get())
    assert [fake.closed for fake in core.made] == [1, 0]


async def test_a_server_that_allows_no_stream_is_not_asked_endlessly(core: type[Core]) -> None:
    """If the second connection is full as well, no third one is made."""
    core.steps[:] = [httpcore2.LocalProtocolError(FULL)] * 3
    with pytest.raises(httpx.LocalProtocolError, match="Max outbound streams"):
        await HTTPTransport().handle_async_request(get())
    assert len(core.steps) == 1


async def test_calls_that_find_a_connection_out_of_streams_at_once_share_the_next(
    core: type[Core],
) -> None:
    """The pool is replaced once."""
    all_there = anyio.Event()
    waiting: list[httpcore2.Request] = []

    async def fail_together(request: httpcore2.Request) -> None:
        waiting.append(request)
        if len(waiting) == 5:
            all_there.set()
        await all_there.wait()
        raise httpcore2.LocalProtocolError(FULL)

    core.steps[:] = [fail_together] * 5
    transport = HTTPTransport()
    async with anyio.create_task_group() as calls:
        for _ in range(5):
            calls.start_soon(transport.handle_async_request, get())
    assert [len(fake.requests) for fake in core.made] == [5, 5]


async def test_a_pool_that_lost_count_is_replaced(core: type[Core]) -> None:
    """The error is raised unchanged: the server may have caused it."""
    transport = HTTPTransport()

    async def spoil(request: httpcore2.Request) -> None:
        del request
        core.made[0].options["network_backend"].spoiled = True
        raise httpcore2.ConnectError("handshake")

    core.steps[:] = [spoil]
    with pytest.raises(httpx.ConnectError):
        await transport.handle_async_request(get())
    await transport.handle_async_request(get())
    assert [len(fake.requests) for fake in core.made] == [1, 1]


async def test_what_a_failed_call_has_lost_is_closed(core: type[Core]) -> None:
    """This is checked only if the call has made a connection."""
    transport = HTTPTransport()
    asked: list[tuple[int, bool]] = []

    async def connect(request: httpcore2.Request) -> None:
        del request
        network = core.made[0].options["network_backend"]

        async def close_lost(since: int, *, secure: bool) -> None:
            asked.append((since, secure))

        network.close_lost = close_lost
        network.connected += 1
        raise httpcore2.ReadError("cut")

    core.steps[:] = [connect, httpcore2.ReadError("cut"), connect]
    for url in ("http://a.test", "http://a.test", "https://a.test"):
        with pytest.raises(httpx.ReadError):
            await transport.handle_async_request(get(url))
    assert asked == [(0, False), (1, True)]


async def test_a_cancelled_call_is_over(core: type[Core]) -> None:
    """Its cancellation propagates, and the next call succeeds."""
    transport = HTTPTransport()
    waits = anyio.Event()

    async def wait(request: httpcore2.Request) -> None:
        del request
        waits.set()
        await anyio.sleep_forever()

    core.steps[:] = [wait]
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as calls:
            calls.start_soon(transport.handle_async_request, get())
            await waits.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert (await transport.handle_async_request(get())).status_code == 200
    assert len(core.made) == 1


async def test_the_environment_is_read_when_it_is_made_and_after_each_closing(
    core: type[Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes in between have no effect."""
    transport = HTTPTransport()
    monkeypatch.setenv("ALL_PROXY", PROXY)
    await transport.handle_async_request(get())
    await transport.aclose()
    await transport.handle_async_request(get())
    monkeypatch.delenv("ALL_PROXY")
    await transport.handle_async_request(get())
    assert [fake.options["proxy"] is not None for fake in core.made] == [False, True]


async def test_a_proxy_that_cannot_be_is_refused_at_an_opening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the transport is made, or by the first request after a closing."""
    transport = HTTPTransport()
    await transport.aclose()
    monkeypatch.setenv("ALL_PROXY", "gopher://proxy.test")
    with pytest.raises(ValueError, match="the environment's proxy for all://"):
        HTTPTransport()
    with pytest.raises(ValueError, match="the environment's proxy for all://"):
        await transport.handle_async_request(get())
    HTTPTransport(trust_env=False)


def test_the_repr_shows_proxies_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows those of the environment, or the given one, and nothing else."""
    assert repr(HTTPTransport(verify=False)) == "HTTPTransport()"
    shown = "HTTPTransport(ProxyRules(all: http://proxy.test:3128))"
    assert repr(HTTPTransport(proxy=PROXY)) == shown
    monkeypatch.setenv("ALL_PROXY", PROXY)
    assert repr(HTTPTransport()) == shown
    assert repr(HTTPTransport(trust_env=False)) == "HTTPTransport()"


@BOTH
def test_it_is_a_transport_of_either_family(home: ModuleType) -> None:
    """Code that checks the type of a transport accepts it."""
    assert isinstance(HTTPTransport(), home.AsyncBaseTransport)


# Several event loops


def on_a_loop_of_its_own(backend: str, transport: HTTPTransport, *, close: bool = False) -> None:
    """Send a request in a new event loop that ends afterwards."""

    async def main() -> None:
        await transport.handle_async_request(get())
        if close:
            await transport.aclose()

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("first", ["asyncio", "trio"])
@pytest.mark.parametrize("second", ["asyncio", "trio"])
def test_each_event_loop_has_its_own_connections(core: type[Core], first: str, second: str) -> None:
    """Those of a closed loop cannot be used, and are forgotten."""
    transport = HTTPTransport()
    for backend in (first, second, first):
        on_a_loop_of_its_own(backend, transport)
    assert [len(fake.requests) for fake in core.made] == [1, 1, 1]
    on_a_loop_of_its_own(second, transport, close=True)
    assert [fake.closed for fake in core.made] == [0, 0, 0, 1]


def test_closing_leaves_the_connections_of_a_loop_that_runs(core: type[Core]) -> None:
    """They can be closed only in their own loop, and stay usable there."""
    transport = HTTPTransport()
    loop, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        loop.run_until_complete(transport.handle_async_request(get()))
        other.run_until_complete(transport.handle_async_request(get()))
        other.run_until_complete(transport.aclose())
        loop.run_until_complete(transport.handle_async_request(get()))
        assert [(len(fake.requests), fake.closed) for fake in core.made] == [(2, 0), (1, 1)]
        loop.run_until_complete(transport.aclose())
        assert [fake.closed for fake in core.made] == [1, 1]
    finally:
        loop.close()
        other.close()


async def test_the_connections_of_another_loop_that_runs_are_kept(
    core: type[Core], anyio_backend_name: str
) -> None:
    """This holds on trio, too, where a loop cannot be asked whether it is over."""
    transport = HTTPTransport()
    await transport.handle_async_request(get())
    await anyio.to_thread.run_sync(on_a_loop_of_its_own, anyio_backend_name, transport)
    await transport.handle_async_request(get())
    assert [len(fake.requests) for fake in core.made] == [2, 1]
    await transport.aclose()
    assert [fake.closed for fake in core.made] == [1, 0]
