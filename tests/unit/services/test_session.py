import weakref
from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest

from tests.recorded import Recorded
from tests.support import Body, Clock, Events, IteratorBody, Scripted, Step, without_gc
from tests.unit.services.clients import (
    HEADERS,
    PARAMS,
    Make,
    broken_body,
    failure_of,
    shown,
)
from walltrack import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    Delivery,
    ExternalServiceError,
    RejectReason,
    RequestRejected,
)
from walltrack.telemetry.otel import OpenTelemetryListener

asynchronous = pytest.mark.anyio


class Endless(IteratorBody):
    """A body of a number of single bytes, by an iterator that needs no clean-up when dropped."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    async def next_chunk(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        if self.read == self.length:
            raise StopAsyncIteration
        self.read += 1
        return b"x"


# Failures


@asynchronous
@pytest.mark.parametrize(
    ("outcome", "attempts", "delivery"),
    [
        (httpx.ConnectError, 4, Delivery.NOT_SENT),
        (httpx.ReadTimeout, 4, Delivery.UNCERTAIN),
        (httpx.UnsupportedProtocol, 1, Delivery.NOT_SENT),
    ],
)
async def test_a_final_transport_failure_raises(
    make: Make, outcome: type[httpx.RequestError], attempts: int, delivery: Delivery
) -> None:
    """The error has all that is known, and httpx's error as its cause."""
    error = await failure_of(make(outcome, service="things"))
    assert (error.service, error.status_code, error.attempts) == ("things", None, attempts)
    assert error.delivery is delivery
    assert error.response is None
    assert type(error.__cause__) is outcome


@asynchronous
async def test_an_error_response_can_be_read(make: Make) -> None:
    """APIs say in its body what was wrong."""
    error = await failure_of(make(httpx.Response(422, stream=Body(b'{"why": "so"}'))))
    assert error.response is not None
    assert error.response.json() == {"why": "so"}


@asynchronous
async def test_a_body_that_breaks_off_is_asked_for_again(make: Make, clock: Clock) -> None:
    """Nothing of it was delivered, so the call is retried, and the next body is complete."""
    response = await make(broken_body(), httpx.Response(200, stream=Body(b"so", b"so"))).get("/a")
    assert response.content == b"soso"
    assert response.extensions["walltrack.attempts"] == 2
    assert clock.sleeps == [1.0]


@asynchronous
async def test_a_body_that_breaks_off_for_good_raises(make: Make) -> None:
    """The caller asked for the whole of it, and each attempt counted for the breaker."""
    client = make(lambda _: broken_body())
    error = await failure_of(client)
    assert str(error) == (
        "api.test: GET /a failed with ReadError after 4 attempts (the service may have acted on it)"
    )
    assert client.circuit_breaker.failure_count == 4


@asynchronous
async def test_a_stream_knows_no_limit(make: Make) -> None:
    """The caller of a stream decides how much to read."""
    client = make(httpx.Response(200, stream=Endless(1000)), max_response_bytes=5)
    async with client.stream("GET", "/a") as response:
        assert len(await response.aread()) == 1000


@asynchronous
async def test_a_failure_tells_what_any_attempt_may_have_done(make: Make) -> None:
    """After a timeout it is uncertain, whatever the outcome of later attempts."""
    error = await failure_of(make(httpx.ReadTimeout, httpx.ConnectError))
    assert (error.attempts, error.delivery) == (4, Delivery.UNCERTAIN)


@asynchronous
@pytest.mark.parametrize(
    "before",
    [[], [503, 503], [httpx.ReadTimeout]],
    ids=["at once", "after 503", "after a silence"],
)
async def test_a_redirect_is_reported_on_its_own(make: Make, before: list[Step]) -> None:
    """What the request before it met is over: it was answered."""
    moved = httpx.Response(302, headers={"Location": "/b"})
    client = make(*before, moved, httpx.ConnectError)
    error = await failure_of(client, follow_redirects=True)
    assert (error.attempts, error.delivery) == (4, Delivery.NOT_SENT)


@asynchronous
@pytest.mark.parametrize(
    "outcome",
    [404, 503, httpx.ReadError, httpx.LocalProtocolError, lambda _: broken_body()],
    ids=["404", "503", "ReadError", "text withheld", "body"],
)
async def test_a_failure_dies_with_its_handler(make: Make, outcome: Step) -> None:
    """No frame in its traceback holds it, so that nothing waits for the garbage collector."""
    client = make(outcome)
    await failure_of(client)  # opens the client
    with without_gc():
        try:
            await client.get("/a", extensions={"walltrack.retry": False})
        except ExternalServiceError as error:
            died = weakref.ref(error)
        assert died() is None


@asynchronous
async def test_the_failure_of_a_stream_dies_with_its_handler(make: Make) -> None:
    """The same holds if its body breaks off."""
    client = make(lambda _: broken_body())
    with without_gc():
        try:
            async with client.stream("GET", "/a") as response:
                await response.aread()
        except ExternalServiceError as error:
            died = weakref.ref(error)
        assert died() is None


@asynchronous
@pytest.mark.parametrize(
    "outcome",
    [
        404,
        503,
        httpx.ReadError,
        httpx.LocalProtocolError("Illegal header value b'hunter2 '"),
        httpx.ConnectError("no way to https://api.test/v1/a?key=swordfish&page=1"),
    ],
    ids=["404", "503", "ReadError", "LocalProtocolError", "ConnectError"],
)
async def test_no_failure_shows_a_secret(make: Make, events: Events, outcome: Step) -> None:
    """Neither the error, nor its causes, nor an event shows one."""
    client = make(outcome, headers=HEADERS, params=PARAMS)
    text = shown(await failure_of(client)) + repr(events)
    assert "hunter2" not in text
    assert "swordfish" not in text


@asynchronous
async def test_a_bug_comes_out_as_it_is(make: Make) -> None:
    """An exception that is no failure of the service is raised unchanged."""
    with pytest.raises(ZeroDivisionError):
        await make(ZeroDivisionError).get("/a")


# Streams


@asynchronous
async def test_a_stream_is_read_as_it_comes(make: Make) -> None:
    """Inside the block it is open, and after it closed."""
    body = Body(b"a", b"b")
    async with make(httpx.Response(200, stream=body)).stream("GET", "/a") as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"a"
        assert (body.read, body.closes) == (1, 0)
        assert [chunk async for chunk in chunks] == [b"b"]
    assert body.closes == 1


@asynchronous
async def test_a_stream_takes_options(make: Make) -> None:
    """A stream takes the options of `request`."""
    inner = Scripted(200)
    async with make(inner=inner).stream("POST", "/a", json={"a": 1}, headers={"X-A": "1"}):
        pass
    [request] = inner.requests
    assert (request.method, request.content) == ("POST", b'{"a":1}')
    assert request.headers["X-A"] == "1"


@asynchronous
async def test_a_stream_is_retried_until_its_headers_are_good(make: Make) -> None:
    """Before the headers, nothing was delivered."""
    async with make(503, 200).stream("GET", "/a") as response:
        assert response.extensions["walltrack.attempts"] == 2


@asynchronous
@pytest.mark.parametrize("outcome", [404, httpx.ConnectError])
async def test_a_stream_that_does_not_begin_raises(make: Make, outcome: Step) -> None:
    """It raises the same error as any other request."""
    with pytest.raises(ExternalServiceError):
        async with make(outcome).stream("GET", "/a"):
            pytest.fail("it began")  # pragma: no cover


@asynchronous
async def test_a_refused_stream_is_closed(make: Make) -> None:
    """Its connection is not left open for a body that is not read."""
    body = Body(b"sorry")
    with pytest.raises(ExternalServiceError):
        async with make(httpx.Response(404, stream=body)).stream("GET", "/a"):
            pytest.fail("it began")  # pragma: no cover
    assert body.closes == 1


@asynchronous
async def test_a_stream_that_breaks_off_raises(make: Make) -> None:
    """The error has the attempts made until it began; no other attempt follows."""
    inner = Scripted(503, broken_body())
    with pytest.raises(ExternalServiceError) as raised:
        async with make(inner=inner).stream("GET", "/a") as response:
            await response.aread()
    assert (raised.value.attempts, len(inner.requests)) == (2, 2)
    assert isinstance(raised.value.__cause__, httpx.ReadError)
    assert response.is_closed


@asynchronous
async def test_a_stream_that_breaks_off_shows_no_secret(make: Make) -> None:
    """A server that breaks the protocol may quote what it was sent."""
    body = Body(b"so", httpx.RemoteProtocolError("illegal chunk: hunter2"))
    with pytest.raises(ExternalServiceError) as raised:
        async with make(httpx.Response(200, stream=body)).stream("GET", "/a") as response:
            await response.aread()
    assert "hunter2" not in shown(raised.value)


@asynchronous
@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        httpx.ReadError("of no request"),
        httpx.ReadError("of another", request=httpx.Request("GET", "https://other.test")),
        CircuitBreakerOpenError("other"),
    ],
    ids=["bug", "no request", "other request", "other circuit"],
)
async def test_a_strangers_error_passes_through_a_stream(make: Make, error: Exception) -> None:
    """An exception from other code inside the block is no failure of this service."""
    with pytest.raises(type(error)) as raised:
        async with make(200).stream("GET", "/a") as response:
            raise error
    assert raised.value is error
    assert response.is_closed


@asynchronous
async def test_a_stream_that_its_reader_leaves_is_closed(make: Make) -> None:
    """Closing a stream early is no failure."""
    body = Body(b"a", b"b")
    client = make(httpx.Response(200, stream=body))
    async with client.stream("GET", "/a"):
        pass
    assert (body.read, body.closes) == (0, 1)
    assert client.circuit_breaker.failure_count == 0


# Opening


@asynchronous
async def test_first_calls_that_race_share_one_client(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made by the first request, and not twice."""
    made: list[httpx.AsyncClient] = []

    class Counted(httpx.AsyncClient):
        def __init__(self, **options: Any) -> None:  # noqa: ANN401 - handed on
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr(httpx, "AsyncClient", Counted)
    client = make(200)
    assert made == []
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(client.get, "/a")
    assert len(made) == 1


# An open circuit


@asynchronous
@pytest.mark.parametrize("stream", [False, True])
async def test_an_open_circuit_rejects_before_a_request_is_built(
    make: Make, monkeypatch: pytest.MonkeyPatch, clock: Clock, events: Events, *, stream: bool
) -> None:
    """With the error, its request and the events that its layer of the stack would have."""
    breaker = CircuitBreaker(1, 30, clock=clock)
    client = make(200, service="things", breaker=breaker, params={"a": "1"})
    breaker.record_failure()
    built: list[str] = []
    build_request = httpx.AsyncClient.build_request

    def building(self: httpx.AsyncClient, method: str, url: httpx.URL, **options: Any) -> Any:  # noqa: ANN401
        built.append(method)
        return build_request(self, method, url, **options)

    monkeypatch.setattr(httpx.AsyncClient, "build_request", building)

    async def call() -> None:
        if stream:
            async with client.stream("GET", "/b"):
                pytest.fail("it was sent")  # pragma: no cover
        await client.get("/b")

    with pytest.raises(CircuitBreakerOpenError) as early:
        await call()
    assert built == []
    monkeypatch.setattr(CircuitBreaker, "shut_for", lambda _: 0.0)
    with pytest.raises(CircuitBreakerOpenError) as late:  # from the layer
        await call()
    monkeypatch.undo()
    assert type(early.value) is type(late.value)
    assert (early.value.service, early.value.retry_after) == ("things", 30.0)
    assert early.value.request.url == late.value.request.url
    assert early.value.__cause__ == late.value.__cause__
    rejected = RequestRejected("things", "GET", "/b", RejectReason.CIRCUIT_OPEN, 30.0)
    assert events == [rejected, replace(rejected, retry_after=0.0)]


@asynchronous
async def test_a_probe_passes_and_closes_the_circuit(make: Make, clock: Clock) -> None:
    """Once the cooldown is over; a circuit that observes only rejects nothing."""
    breaker = CircuitBreaker(1, 30, clock=clock)
    client = make(200, breaker=breaker)
    breaker.record_failure()
    clock.advance(30)
    assert (await client.get("/a")).status_code == 200
    assert breaker.state is CircuitState.CLOSED
    breaker.observe_only()
    breaker.record_failure()
    assert (await client.get("/a")).status_code == 200
    breaker.force_open()
    with pytest.raises(CircuitBreakerOpenError):
        await client.get("/a")


@asynchronous
async def test_an_observer_observes_rejections_too(make: Make, clock: Clock) -> None:
    """So each request is built and goes through the transport, which has it observed."""
    recorded = Recorded()
    breaker = CircuitBreaker(1, 30, clock=clock)
    listener = OpenTelemetryListener(recorded.meters, listener=None)
    client = make(200, breaker=breaker, listener=listener)
    breaker.record_failure()
    with pytest.raises(CircuitBreakerOpenError):
        await client.get("/b")
    assert recorded.by("walltrack.call.duration", "error.type") == {"CircuitBreakerOpenError": 1}
    assert recorded.by("walltrack.rejected", "walltrack.reason") == {"circuit_open": 1}
