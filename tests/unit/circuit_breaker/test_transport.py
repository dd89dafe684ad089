import contextlib
import gc
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from tests.support import Body, Clock, Events, Scripted, Step, get
from walltrack import (
    Backoff,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitModeChanged,
    CircuitOpened,
    CircuitState,
    CountWindow,
    Event,
    RejectReason,
    RequestRejected,
    RequestRejectedError,
    RetryPolicy,
    RetryTransport,
    TimeWindow,
    WallTrackError,
)
from walltrack.core.naming import server_of

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN

URL = "https://api.test/things"
COOLDOWN = 30.0

Call = Coroutine[Any, Any, object]


class Held:
    """A step of a script that answers only once `go` is set."""

    def __init__(self, answer: int | Exception = 200) -> None:
        self.answer = answer
        self.go = anyio.Event()

    async def __call__(self, _request: httpx.Request) -> httpx.Response:
        await self.go.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return httpx.Response(self.answer)


def layer(inner: httpx.AsyncBaseTransport, clock: Clock, **options: Any) -> CircuitBreakerTransport:  # noqa: ANN401 - handed on
    """The transport under test, without a listener unless one is given."""
    return CircuitBreakerTransport(inner, clock=clock, **{"listener": None, **options})


def recovering(inner: Scripted, clock: Clock, **options: Any) -> CircuitBreakerTransport:  # noqa: ANN401 - handed on
    """The transport under test, whose cooldown has just ended."""
    transport = layer(inner, clock, **options)
    breaker = transport.breaker_for(URL)
    for _ in range(breaker.failure_threshold):
        breaker.record_failure()
    clock.advance(breaker.cooldown_seconds)
    return transport


async def ask(
    transport: httpx.AsyncBaseTransport, request: httpx.Request | None = None
) -> httpx.Response | Exception:
    """Send one request, and return the response or the exception."""
    try:
        return await transport.handle_async_request(request or get(URL))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return error


async def ask_times(
    times: int, transport: httpx.AsyncBaseTransport, url: str = URL
) -> list[httpx.Response | Exception]:
    """Send `times` requests, one after the other."""
    return [await ask(transport, get(url)) for _ in range(times)]


async def begin(transport: httpx.AsyncBaseTransport) -> httpx.Response:
    """Send a request whose response has good headers, and return it unread."""
    response = await ask(transport)
    assert isinstance(response, httpx.Response)
    assert response.status_code == 200
    return response


async def read_to_the_break(response: httpx.Response) -> None:
    """Read a body that breaks off."""
    with pytest.raises(httpx.ReadError):
        await response.aread()


async def cancelled(call: Callable[[], Call]) -> None:
    """Cancel `call` as soon as it waits."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


def streamed(*chunks: bytes | BaseException) -> httpx.Response:
    """A response whose body has still to be read."""
    return httpx.Response(200, stream=Body(*chunks))


def broken() -> httpx.Response:
    """A response whose body breaks off."""
    return streamed(b"some", httpx.ReadError("broken"))


def state_of(transport: CircuitBreakerTransport, url: str = URL) -> CircuitState:
    """The state that a request to `url` would meet."""
    return transport.breaker_for(url).state


# It opens


@pytest.mark.anyio
@pytest.mark.parametrize("failure", [429, 500, 503, 599, httpx.ConnectError, httpx.ReadTimeout])
async def test_it_opens_after_five_failures_in_a_row(clock: Clock, failure: Step) -> None:
    """The caller gets five failures unchanged; the sixth request does not reach the server."""
    inner = Scripted(failure)
    transport = layer(inner, clock)

    answers = await ask_times(6, transport)

    for answer in answers[:5]:
        came = answer.status_code if isinstance(answer, httpx.Response) else type(answer)
        assert came == failure
    assert isinstance(answers[5], CircuitBreakerOpenError)
    assert len(inner.requests) == 5


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [200, 301, 400, 404, 428, 499, 501, 505])
async def test_a_healthy_answer_begins_the_row_anew(clock: Clock, answer: int) -> None:
    """A service that answers is not a failing one, even with a 404 or a 501."""
    transport = layer(Scripted(*[503] * 4, answer, *[503] * 5), clock)

    await ask_times(9, transport)
    assert state_of(transport) is CLOSED

    await ask_times(1, transport)
    assert state_of(transport) is OPEN


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [
        httpx.LocalProtocolError("scripted"),
        httpx.UnsupportedProtocol("scripted"),
        RequestRejectedError("elsewhere"),
        RuntimeError("scripted"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_says_nothing_of_the_service_is_not_counted(
    clock: Clock, error: Exception
) -> None:
    """It neither counts as a failure nor resets the failure count, and propagates unchanged."""
    transport = layer(Scripted(503, error), clock)

    answers = await ask_times(10, transport)

    assert answers[1:] == [error] * 9
    assert transport.breaker_for(URL).failure_count == 1


@pytest.mark.anyio
async def test_a_cancelled_call_is_not_counted(clock: Clock) -> None:
    """Cancellations by callers do not open a circuit."""
    transport = layer(Scripted(503, Held()), clock)
    await ask(transport)

    for _ in range(9):
        await cancelled(partial(ask, transport))

    assert transport.breaker_for(URL).failure_count == 1


@pytest.mark.anyio
async def test_other_statuses_count_as_failures_if_given(clock: Clock) -> None:
    """With `statuses=` only those count."""
    transport = layer(Scripted(*[503] * 5, *[404] * 5), clock, statuses={404})

    await ask_times(9, transport)
    assert transport.breaker_for(URL).failure_count == 4

    await ask_times(1, transport)
    assert state_of(transport) is OPEN


@pytest.mark.anyio
async def test_other_exceptions_count_as_failures_if_given(clock: Clock) -> None:
    """With `exceptions=` only those count; a rejection by a layer never does."""
    errors = [httpx.ReadTimeout("slow"), KeyError("key"), RequestRejectedError("elsewhere")]
    transport = layer(Scripted(*errors, 503), clock, exceptions=(LookupError, WallTrackError))

    counts = []
    for _ in errors:
        await ask(transport)
        counts.append(transport.breaker_for(URL).failure_count)

    assert counts == [0, 1, 1]


# It refuses


@pytest.mark.anyio
async def test_a_refusal_tells_the_service_the_wait_and_the_request(clock: Clock) -> None:
    """The error has host, port, the time until the next probe, and the refused request."""
    transport = layer(Scripted(503), clock)
    url = "https://user:hunter2@api.test:8443/things?api-key=hunter2"
    await ask_times(5, transport, url)
    clock.advance(12.5)
    request = get(url)

    refusal = await ask(transport, request)

    assert isinstance(refusal, CircuitBreakerOpenError)
    assert (refusal.service, refusal.retry_after) == ("api.test:8443", 17.5)
    assert refusal.request is request
    assert "hunter2" not in f"{refusal} {refusal!r}"


@pytest.mark.anyio
async def test_code_that_knows_only_httpx_handles_a_refusal(clock: Clock) -> None:
    """Under a plain client an open circuit is an `httpx.TransportError` with its request."""
    transport = layer(Scripted(503), clock, failure_threshold=1)
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get(URL)
        with pytest.raises(httpx.TransportError) as refusal:
            await client.get(URL)

    assert refusal.value.request.url == URL


@pytest.mark.anyio
async def test_it_probes_exactly_when_the_cooldown_is_over(clock: Clock) -> None:
    """An instant before the end of the cooldown it still refuses; at the end it admits."""
    inner = Scripted(*[503] * 5, 200)
    transport = layer(inner, clock, cooldown_seconds=8.0)
    await ask_times(5, transport)

    clock.advance(8.0 - 2**-20)
    assert isinstance(await ask(transport), CircuitBreakerOpenError)

    clock.advance(2**-20)
    assert await begin(transport)
    assert len(inner.requests) == 6


def test_refusals_leave_memory_flat(clock: Clock) -> None:
    """However many requests are refused in an outage, no memory is kept for them."""
    transport = layer(Scripted(503), clock)
    request = get(URL)

    async def refuse(times: int) -> None:
        for _ in range(times):
            with contextlib.suppress(CircuitBreakerOpenError):
                await transport.handle_async_request(request)
                pytest.fail("was let through")

    async def measure() -> int:
        await ask_times(5, transport)
        await refuse(100)
        gc.collect()
        gc.disable()  # what only the collector would free counts, too
        tracemalloc.start()
        try:
            await refuse(20_000)
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
            gc.enable()

    assert anyio.run(measure) < 10_000


# One probe


@pytest.mark.anyio
async def test_of_twenty_callers_one_is_the_probe(clock: Clock) -> None:
    """One request reaches the server; the others are refused at once, each with its own request."""
    held = Held()
    inner = Scripted(held)
    transport = recovering(inner, clock)
    requests = [get(f"{URL}/{number}") for number in range(20)]
    answers: dict[httpx.Request, httpx.Response | Exception] = {}

    async def call(request: httpx.Request) -> None:
        answers[request] = await ask(transport, request)

    async with anyio.create_task_group() as tasks:
        for request in requests:
            tasks.start_soon(call, request)
        await anyio.wait_all_tasks_blocked()
        assert len(answers) == 19
        assert len(inner.requests) == 1
        held.go.set()

    refused = {r: a for r, a in answers.items() if isinstance(a, CircuitBreakerOpenError)}
    assert len(refused) == 19
    for request, refusal in refused.items():
        assert refusal.request is request
        assert (refusal.service, refusal.retry_after) == ("api.test", COOLDOWN)
    assert len(inner.requests) == 1
    assert state_of(transport) is CLOSED


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (200, CLOSED),
        (404, CLOSED),
        (503, OPEN),
        (429, OPEN),
        (httpx.ConnectError, OPEN),
        (httpx.ReadTimeout, OPEN),
        (httpx.PoolTimeout, HALF_OPEN),
        (httpx.LocalProtocolError, HALF_OPEN),
        (httpx.UnsupportedProtocol, HALF_OPEN),
        (RequestRejectedError("elsewhere"), HALF_OPEN),
        (RuntimeError, HALF_OPEN),
    ],
    ids=str,
)
async def test_the_probe_decides(clock: Clock, outcome: Step, state: CircuitState) -> None:
    """A success closes, a failure opens again, and without a verdict another probe is admitted."""
    inner = Scripted(outcome, 503)
    transport = recovering(inner, clock)
    await ask(transport)

    breaker = transport.breaker_for(URL)
    assert breaker.state is state
    assert breaker.shut_for() == (COOLDOWN if state is OPEN else 0.0)
    await ask(transport)
    assert len(inner.requests) == (1 if state is OPEN else 2)


@pytest.mark.anyio
async def test_a_cancelled_probe_gives_its_place_back(clock: Clock) -> None:
    """A cancelled probe leaves the breaker half-open, and the next request is the probe."""
    transport = recovering(Scripted(Held(), 200), clock)
    await cancelled(partial(ask, transport))
    assert state_of(transport) is HALF_OPEN

    await begin(transport)
    assert state_of(transport) is CLOSED


@pytest.mark.anyio
async def test_a_probe_that_never_settles_loses_its_place(clock: Clock) -> None:
    """After a cooldown another probe is admitted, and the result of the first one is ignored."""
    held = Held(503)
    transport = recovering(Scripted(held, 200), clock)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, transport)
        await anyio.wait_all_tasks_blocked()
        clock.advance(COOLDOWN - 1.0)
        assert isinstance(await ask(transport), CircuitBreakerOpenError)
        clock.advance(1.0)
        await begin(transport)
        assert state_of(transport) is CLOSED
        held.go.set()

    assert transport.breaker_for(URL).failure_count == 0


# The end of the body decides


@pytest.mark.anyio
async def test_a_body_that_breaks_off_is_a_failure(clock: Clock) -> None:
    """Five good headers with five broken bodies open the circuit."""
    transport = layer(Scripted(lambda _: broken()), clock)

    for count in range(5):
        assert transport.breaker_for(URL).failure_count == count
        await read_to_the_break(await begin(transport))

    assert isinstance(await ask(transport), CircuitBreakerOpenError)


@pytest.mark.anyio
@pytest.mark.parametrize("whole", [True, False])
async def test_a_body_that_is_read_or_closed_is_a_success(clock: Clock, *, whole: bool) -> None:
    """The failure count is reset when the body is read or closed, not by the headers."""
    transport = layer(Scripted(503, streamed(b"one", b"two")), clock)
    await ask(transport)
    response = await begin(transport)
    assert transport.breaker_for(URL).failure_count == 1

    if whole:
        assert await response.aread() == b"onetwo"
    else:
        await response.aclose()

    assert transport.breaker_for(URL).failure_count == 0


@pytest.mark.anyio
async def test_a_reader_that_is_cancelled_gives_no_verdict(clock: Clock) -> None:
    """A body whose reading was cancelled neither counts as a failure nor resets the count."""

    class Endless(Body):
        async def chunks(self) -> AsyncGenerator[bytes, None]:
            yield b"one"
            await anyio.sleep_forever()

    transport = layer(Scripted(503, httpx.Response(200, stream=Endless())), clock)
    await ask(transport)
    response = await begin(transport)

    await cancelled(response.aread)
    await response.aclose()

    assert transport.breaker_for(URL).failure_count == 1


@pytest.mark.anyio
async def test_an_open_stream_neither_resets_nor_holds_the_count(clock: Clock) -> None:
    """While a stream is read, failures beside it still open the circuit; its end is then late."""
    transport = layer(Scripted(503, streamed(b"one"), 503), clock)
    await ask(transport)
    stream = await begin(transport)

    await ask_times(4, transport)
    assert state_of(transport) is OPEN

    await stream.aread()
    assert state_of(transport) is OPEN


@pytest.mark.anyio
async def test_a_failing_status_is_a_verdict_at_once(clock: Clock) -> None:
    """A 503 counts with its headers, and only once, whatever becomes of its body."""
    failing = httpx.Response(503, stream=Body(httpx.ReadError("broken")))
    transport = layer(Scripted(failing), clock)
    await ask(transport)
    assert transport.breaker_for(URL).failure_count == 1

    await read_to_the_break(failing)
    assert transport.breaker_for(URL).failure_count == 1


@pytest.mark.anyio
async def test_the_body_comes_through_a_client_as_it_was_sent(clock: Clock) -> None:
    """A streaming reader sees the chunks one by one, and the inner stream is closed once."""
    body = Body(b"one", b"two")
    transport = layer(Scripted(httpx.Response(200, stream=body)), clock)

    async with (
        httpx.AsyncClient(transport=transport) as client,
        client.stream("GET", URL) as response,
    ):
        assert [chunk async for chunk in response.aiter_raw()] == [b"one", b"two"]

    assert body.closes == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "end", "state"),
    [
        (streamed, httpx.Response.aread, CLOSED),
        (streamed, httpx.Response.aclose, CLOSED),
        (broken, read_to_the_break, OPEN),
    ],
)
async def test_a_probes_verdict_waits_for_its_body(
    clock: Clock,
    body: Callable[[], httpx.Response],
    end: Callable[[httpx.Response], Call],
    state: CircuitState,
) -> None:
    """After good headers others are still refused; the end of the body closes or opens it."""
    transport = recovering(Scripted(lambda _: body()), clock)
    response = await begin(transport)
    assert isinstance(await ask(transport), CircuitBreakerOpenError)

    await end(response)

    assert state_of(transport) is state


@pytest.mark.anyio
async def test_good_headers_close_after_a_cooldown_while_the_stream_goes_on(clock: Clock) -> None:
    """A probe that is a long stream blocks no caller; a later break is one plain failure."""
    transport = recovering(Scripted(broken(), 200), clock)
    stream = await begin(transport)
    clock.advance(COOLDOWN)
    await begin(transport)
    assert transport.breaker_for(URL).failure_count == 0

    await read_to_the_break(stream)

    breaker = transport.breaker_for(URL)
    assert (breaker.state, breaker.failure_count) == (CLOSED, 1)


@pytest.mark.anyio
async def test_a_response_that_is_dropped_unclosed_does_not_shut_permanently(clock: Clock) -> None:
    """A probe whose response is neither read nor closed counts as good when its time ends."""
    transport = recovering(Scripted(streamed(b"one"), 200), clock)
    await begin(transport)
    gc.collect()
    assert isinstance(await ask(transport), CircuitBreakerOpenError)

    clock.advance(COOLDOWN)

    await begin(transport)
    assert state_of(transport) is CLOSED


# Late results


@pytest.mark.anyio
@pytest.mark.parametrize(
    "late", [200, 503, httpx.ReadTimeout("late"), RuntimeError("late")], ids=str
)
@pytest.mark.parametrize("state", list(CircuitState))
async def test_a_result_from_before_it_opened_changes_nothing(
    clock: Clock, late: int | Exception, state: CircuitState
) -> None:
    """A late success does not close; a late failure neither opens nor extends the cooldown."""
    held, probe = Held(late), Held(200)
    transport = layer(Scripted(held, *[503] * 5, *[probe] * 2), clock)
    breaker = transport.breaker_for(URL)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, transport)
        await anyio.wait_all_tasks_blocked()
        await ask_times(5, transport)
        clock.advance(COOLDOWN / 2 if state is OPEN else COOLDOWN)
        if state is not OPEN:
            tasks.start_soon(ask, transport)
            await anyio.wait_all_tasks_blocked()
        if state is CLOSED:
            probe.go.set()
            await anyio.wait_all_tasks_blocked()
        before = (breaker.state, breaker.failure_count, breaker.shut_for())
        assert breaker.state is state

        held.go.set()
        await anyio.wait_all_tasks_blocked()

        assert (breaker.state, breaker.failure_count, breaker.shut_for()) == before
        probe.go.set()


@pytest.mark.anyio
async def test_a_late_body_changes_nothing(clock: Clock) -> None:
    """A stream that began before the circuit opened does not open it again when it breaks off."""
    transport = layer(Scripted(broken(), 503, 200), clock, failure_threshold=1)
    stream = await begin(transport)
    await ask(transport)
    clock.advance(COOLDOWN)
    await begin(transport)

    await read_to_the_break(stream)

    assert state_of(transport) is CLOSED


# Which requests share a breaker


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "shared"),
    [
        ("https://api.test/other?query=1", True),
        ("https://API.test:443/things", True),
        ("https://user:secret@api.test/things", True),
        ("http://api.test/things", False),
        ("https://api.test:8443/things", False),
        ("https://www.api.test/things", False),
    ],
)
async def test_each_origin_has_a_breaker(clock: Clock, url: str, *, shared: bool) -> None:
    """Origins differ by scheme, host and port only."""
    transport = layer(Scripted(503), clock)
    await ask_times(5, transport)

    assert isinstance(await ask(transport, get(url)), CircuitBreakerOpenError) is shared
    assert (transport.breaker_for(url) is transport.breaker_for(URL)) is shared


@pytest.mark.anyio
async def test_requests_can_be_grouped_otherwise(clock: Clock) -> None:
    """`key=` decides which requests share a breaker, across origins and within one."""

    def tenant(request: httpx.Request) -> Hashable:
        return str(request.headers["x-tenant"])

    transport = layer(Scripted(503), clock, key=tenant)
    for _ in range(5):
        await ask(transport, get(URL, headers={"x-tenant": "a"}))

    elsewhere = get("https://other.test", headers={"x-tenant": "a"})
    assert isinstance(await ask(transport, elsewhere), CircuitBreakerOpenError)
    neighbour = get(URL, headers={"x-tenant": "b"})
    assert isinstance(await ask(transport, neighbour), httpx.Response)


@pytest.mark.anyio
async def test_no_key_is_built_while_all_is_well(clock: Clock) -> None:
    """A success builds no key, streamed or not, so it costs almost nothing."""
    keys: list[Hashable] = []

    def key(request: httpx.Request) -> Hashable:
        keys.append(request.url.host)
        return request.url.host

    transport = layer(Scripted(200, streamed(b"one"), 503), clock, key=key)
    await begin(transport)
    await (await begin(transport)).aread()
    assert keys == []

    await ask(transport)
    assert set(keys) == {"api.test"}


@pytest.mark.anyio
async def test_two_transports_can_share_a_breaker(clock: Clock) -> None:
    """Failures and recoveries seen by one transport apply to the other one."""
    breaker = CircuitBreaker(2, 8.0, clock=clock)
    one, other = (layer(Scripted(503, 503, 200), clock, breaker=breaker) for _ in range(2))
    await ask(one)
    await ask(other, get("https://other.test"))

    assert breaker.state is OPEN
    assert one.breaker_for(URL) is other.breaker_for("https://other.test") is breaker
    assert isinstance(await ask(one), CircuitBreakerOpenError)
    assert isinstance(await ask(other), CircuitBreakerOpenError)

    clock.advance(8.0)
    await ask(one)
    assert breaker.state is OPEN  # its second 503
    clock.advance(8.0)
    await begin(one)
    await ask(other)
    assert (breaker.state, breaker.failure_count) == (CLOSED, 1)


@pytest.mark.anyio
async def test_the_oldest_breaker_without_failures_is_forgotten(clock: Clock) -> None:
    """A new origin beyond the bound replaces the oldest breaker without failures."""
    transport = layer(Scripted(503), clock, max_breakers=2)
    await ask(transport, get("https://a.test"))
    clean = transport.breaker_for("https://b.test")

    await ask(transport, get("https://c.test"))

    assert transport.breaker_for("https://a.test").failure_count == 1
    assert transport.breaker_for("https://c.test").failure_count == 1
    assert transport.breaker_for("https://b.test") is not clean


@pytest.mark.anyio
async def test_an_open_breaker_is_never_forgotten(clock: Clock) -> None:
    """In a large outage the bound is exceeded, so that failing origins stay protected."""
    transport = layer(Scripted(503), clock, max_breakers=2, failure_threshold=1)
    urls = [f"https://host{number}.test" for number in range(50)]

    for url in urls:
        await ask(transport, get(url))

    assert all(state_of(transport, url) is OPEN for url in urls)
    assert "50 breakers" in repr(transport)


def test_an_evicted_breaker_can_still_be_used_directly(clock: Clock) -> None:
    """Its results affect neither its successor nor the alert."""
    transport = layer(Scripted(200), clock, max_breakers=1)
    forgotten = transport.breaker_for(URL)
    successor = transport.breaker_for("https://other.test")

    forgotten.record_failure()
    forgotten.record_success()

    assert (forgotten.failure_count, successor.failure_count) == (0, 0)
    assert "1 breaker)" in repr(transport)


@pytest.mark.anyio
async def test_many_healthy_origins_stay_bounded(clock: Clock) -> None:
    """Breakers of origins that fail now and then and recover do not accumulate."""
    transport = layer(Scripted(*[503, 200] * 50, 200), clock, max_breakers=10)

    for number in range(50):
        await ask_times(2, transport, f"https://host{number}.test")

    assert "10 breakers" in repr(transport)


# Events


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("request_for", "service"),
    [
        (partial(get, "https://user:hunter2@api.test/things?api-key=hunter2"), "api.test"),
        (partial(get, "https://api.test:8443/things"), "api.test:8443"),
        (partial(get, URL, extensions={"walltrack.service": "prices"}), "prices"),
    ],
)
async def test_each_change_is_reported_once_and_in_order(
    clock: Clock, events: Events, request_for: Callable[[], httpx.Request], service: str
) -> None:
    """Each opening, half-opening and closing is reported, with the service's name."""
    transport = layer(Scripted(*[503] * 6, RuntimeError(), 200), clock, listener=events)

    async def ask_twice() -> None:
        await ask(transport, request_for())
        await ask(transport, request_for())

    for _ in range(3):
        await ask_twice()
    clock.advance(COOLDOWN)
    await ask_twice()
    clock.advance(COOLDOWN)
    for _ in range(3):
        await ask_twice()

    expected: list[Event] = [
        CircuitOpened(service, failures=5, cooldown=COOLDOWN),
        CircuitHalfOpened(service),
        CircuitOpened(service, failures=6, cooldown=COOLDOWN, previous="half_open"),
        CircuitHalfOpened(service),
        CircuitClosed(service),
    ]
    assert events.of_circuits == expected
    assert {event.server for event in events} == {server_of(request_for())}


@pytest.mark.anyio
async def test_a_refusal_names_the_service_as_the_caller_does(clock: Clock) -> None:
    """The error shows the "walltrack.service" extension as the service's name, too."""
    transport = layer(Scripted(503), clock, failure_threshold=1)
    await ask(transport)

    refusal = await ask(transport, get(URL, extensions={"walltrack.service": "prices"}))

    assert isinstance(refusal, CircuitBreakerOpenError)
    assert refusal.service == "prices"


@pytest.mark.anyio
async def test_a_stream_that_outlives_its_probation_is_reported_when_it_ends(
    clock: Clock, events: Events
) -> None:
    """When it breaks off, both changes are reported in order: closed, then open."""
    transport = recovering(Scripted(broken()), clock, failure_threshold=1, listener=events)
    stream = await begin(transport)
    clock.advance(COOLDOWN)

    await read_to_the_break(stream)

    assert events.names == ["circuit_half_opened", "circuit_closed", "circuit_opened"]


@pytest.mark.anyio
async def test_a_probation_that_passed_is_reported_by_the_next_request(
    clock: Clock, events: Events
) -> None:
    """A circuit closed by good headers is reported once, by the first request that finds it so."""
    transport = recovering(Scripted(streamed(b"one"), 200), clock, listener=events)
    stream = await begin(transport)
    clock.advance(COOLDOWN)
    await ask_times(2, transport)
    await stream.aclose()

    assert events.names == ["circuit_half_opened", "circuit_closed"]


# The gate


@pytest.mark.anyio
@pytest.mark.parametrize("failure", [503, httpx.ReadTimeout])
async def test_a_failure_leaves_a_live_gate(clock: Clock, failure: Step) -> None:
    """It shows at any time how long the circuit stays open, also by another caller."""
    transport = layer(Scripted(failure), clock)
    request = get(URL)
    await ask(transport, request)
    gate = request.extensions["walltrack.gate"]
    assert gate.shut_for() == 0.0

    await ask_times(4, transport)
    assert gate.shut_for() == COOLDOWN
    clock.advance(10.0)
    assert gate.shut_for() == 20.0


@pytest.mark.anyio
async def test_a_late_failure_leaves_the_gate_too(clock: Clock) -> None:
    """A call that fails after others opened the circuit finds out how long it stays open."""
    held, request = Held(503), get(URL)
    transport = layer(Scripted(held, 503), clock)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, transport, request)
        await anyio.wait_all_tasks_blocked()
        await ask_times(5, transport)
        held.go.set()

    assert request.extensions["walltrack.gate"].shut_for() == COOLDOWN


@pytest.mark.anyio
@pytest.mark.parametrize("outcome", [200, 404, httpx.LocalProtocolError, RuntimeError])
async def test_nothing_is_left_behind_without_a_failure(clock: Clock, outcome: Step) -> None:
    """A request that did not fail keeps its extensions as they were."""
    request = get(URL)
    await ask(layer(Scripted(outcome), clock), request)

    assert request.extensions == {}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error", [httpx.LocalProtocolError, RequestRejectedError("elsewhere"), RuntimeError], ids=str
)
async def test_an_end_without_a_verdict_leaves_the_gate_too(clock: Clock, error: Step) -> None:
    """A call that ends after others opened the circuit need not sleep to find that out."""
    held, request = Held(), get(URL)

    async def fail(_: httpx.Request) -> httpx.Response:
        await held.go.wait()
        return await Scripted(error).handle_async_request(request)

    transport = layer(Scripted(fail, 503), clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, transport, request)
        await anyio.wait_all_tasks_blocked()
        await ask_times(5, transport)
        held.go.set()

    gate = request.extensions["walltrack.gate"]
    assert gate.shut_for() == COOLDOWN


# A key function that fails


class Picky:
    """A key function that raises for /strange."""

    def __call__(self, request: httpx.Request) -> Hashable:
        if request.url.path == "/strange":
            raise KeyError("strange")
        return request.url.host


@pytest.mark.anyio
async def test_a_failing_response_whose_key_fails_is_closed(clock: Clock) -> None:
    """The caller does not get the response, and could not close it."""
    body = Body(b"sorry")
    transport = layer(Scripted(httpx.Response(503, stream=body)), clock, key=Picky())

    answer = await ask(transport, get("https://api.test/strange"))

    assert isinstance(answer, KeyError)
    assert body.closes == 1


@pytest.mark.anyio
async def test_a_body_whose_key_fails_at_its_end_is_closed(clock: Clock) -> None:
    """Closing the body raises the error, and the connection is released."""
    body = Body(b"one")
    good = httpx.Response(200, stream=body)
    transport = layer(Scripted(good, 503), clock, key=Picky())
    response = await ask(transport, get("https://api.test/strange"))
    assert isinstance(response, httpx.Response)
    await ask(transport)  # from now on the end of a body counts

    with pytest.raises(KeyError, match="strange"):
        await response.aclose()

    assert body.closes == 1


@pytest.mark.anyio
async def test_a_body_that_was_read_ahead_is_closed_when_its_verdict_raises(clock: Clock) -> None:
    """An inner layer has read it whole, so the breaker settles before returning the response."""
    body = Body(b"one")

    def interrupt(event: Event) -> None:
        if isinstance(event, CircuitClosed):
            raise KeyboardInterrupt

    good = httpx.Response(200, headers={"content-length": "3"}, stream=body)
    inner = RetryTransport(Scripted(503, good), policy=RetryPolicy(max_retries=0), listener=None)
    transport = layer(inner, clock, failure_threshold=1, listener=interrupt)
    await ask(transport)
    clock.advance(COOLDOWN)

    with pytest.raises(KeyboardInterrupt):
        await transport.handle_async_request(get())

    assert body.closes == 1
    assert transport.breaker_for(URL).state is CLOSED


@pytest.mark.anyio
async def test_a_key_that_fails_before_the_request_sends_nothing(clock: Clock) -> None:
    """Without a key there is no breaker to check."""
    inner = Scripted(503)
    transport = layer(inner, clock, key=Picky())
    await ask(transport)

    assert isinstance(await ask(transport, get("https://api.test/strange")), KeyError)
    assert len(inner.requests) == 1


# A transport among others


@pytest.mark.anyio
async def test_opening_and_closing_are_forwarded_once(clock: Clock) -> None:
    """Entering, leaving and closing reach the inner transport once each."""
    inner = Scripted(200)
    transport = layer(inner, clock)

    async with transport as entered:
        assert entered is transport
    assert (inner.entered, inner.exited, inner.closed) == (1, 1, 0)

    await transport.aclose()
    assert (inner.entered, inner.exited, inner.closed) == (1, 1, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("base", [httpx.AsyncBaseTransport, httpx.MockTransport, object])
async def test_any_class_of_inner_transport_will_do(clock: Clock, base: type) -> None:
    """It has to handle requests, and may inherit from any class."""

    class Inner(base):  # type: ignore[misc]  # the base is a parameter
        def __init__(self) -> None: ...

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(503, request=request)

    answers = await ask_times(6, layer(Inner(), clock))

    assert [isinstance(answer, httpx.Response) for answer in answers] == [True] * 5 + [False]


@pytest.mark.anyio
async def test_the_request_and_the_response_pass_as_they_are(clock: Clock) -> None:
    """The inner transport gets the same request, and the caller gets the same response."""
    request, response = get(URL), httpx.Response(200)
    inner = Scripted(response)

    assert await ask(layer(inner, clock), request) is response
    assert inner.requests == [request]
    assert inner.requests[0] is request


def test_without_an_inner_transport_it_sends_over_the_network() -> None:
    """None means an `HTTPTransport()`."""
    assert "(HTTPTransport()" in repr(CircuitBreakerTransport())


def test_its_repr_shows_what_is_inside(clock: Clock) -> None:
    """A repr shows the inner transport, and the shared breaker or the number of breakers."""

    class Inner(Scripted):
        def __repr__(self) -> str:
            return "Inner()"

    own = layer(Inner(200), clock)
    own.breaker_for(URL)
    shared = layer(Inner(200), clock, breaker=CircuitBreaker(clock=clock))

    assert repr(own) == "CircuitBreakerTransport(Inner(), 1 breaker)"
    assert repr(shared) == (
        "CircuitBreakerTransport(Inner(), breaker=<CircuitBreaker closed, failures 0/5>)"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"failure_threshold": 0}, ValueError),
        ({"failure_threshold": 1.5}, TypeError),
        ({"cooldown_seconds": 0.0}, ValueError),
        ({"cooldown_seconds": "30"}, TypeError),
        ({"window": 100}, TypeError),
        ({"cooldown": 0.0}, ValueError),
        ({"cooldown": "30"}, TypeError),
        ({"cooldown": Backoff(base=0.0)}, ValueError),
        ({"probes": 0}, ValueError),
        ({"probe_success_rate": 2}, ValueError),
        ({"max_breakers": 0}, ValueError),
        ({"max_breakers": 1.5}, TypeError),
        ({"statuses": {42}}, ValueError),
        ({"statuses": {"503"}}, TypeError),
        ({"exceptions": (BaseException,)}, TypeError),
        ({"exceptions": httpx.ReadError}, TypeError),
        ({"breaker": 5}, TypeError),
        ({"breaker": CircuitBreaker}, TypeError),
        ({"key": "host"}, TypeError),
        ({"clock": 5}, TypeError),
    ],
)
def test_bad_input_is_refused_by_name(arguments: dict[str, Any], error: type[Exception]) -> None:
    """An invalid value is refused when it is given, and the message names it."""
    (name,) = arguments

    with pytest.raises(error, match=name):
        CircuitBreakerTransport(Scripted(200), **arguments)


@pytest.mark.anyio
async def test_a_success_under_way_ends_a_row_that_began_meanwhile(clock: Clock) -> None:
    """It counts although the breaker did not have to see the call when it began."""
    held = Held()
    transport = layer(Scripted(held, 500), clock)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, transport)
        await anyio.wait_all_tasks_blocked()
        await ask(transport)
        assert transport.breaker_for(URL).failure_count == 1
        held.go.set()

    assert transport.breaker_for(URL).failure_count == 0


# Windows


def slow(clock: Clock, answer: httpx.Response | int | Exception, seconds: float = 3.0) -> Step:
    """A step that takes some time."""

    def step(_request: httpx.Request) -> httpx.Response:
        clock.advance(seconds)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer) if isinstance(answer, int) else answer

    return step


async def ended(response: httpx.Response | Exception) -> None:
    """Read the body, and ignore how it ends."""
    assert isinstance(response, httpx.Response)
    with contextlib.suppress(httpx.ReadError):
        await response.aread()


@pytest.mark.anyio
@pytest.mark.parametrize("window", [CountWindow(), TimeWindow()])
@pytest.mark.parametrize("shared", [False, True])
async def test_half_of_the_answers_failing_opens_it(
    clock: Clock, events: Events, window: CountWindow | TimeWindow, *, shared: bool
) -> None:
    """Successes count from the first call on, and the event has the failures in the window."""
    steps: list[Step] = [200, 200, 503, 200, 503, 200, 503, httpx.ReadTimeout, 200, 503]
    inner = Scripted(*steps)
    if shared:
        breaker = CircuitBreaker(window=window, clock=clock)
        transport = layer(inner, clock, breaker=breaker, listener=events)
    else:
        transport = layer(inner, clock, window=window, listener=events)

    await ask_times(9, transport)
    assert state_of(transport) is CLOSED
    await ask_times(2, transport)

    assert state_of(transport) is OPEN
    assert len(inner.requests) == 10
    assert events.of_circuits == [CircuitOpened("api.test", failures=5, cooldown=COOLDOWN)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "failures"), [(lambda: streamed(b"one"), 0), (broken, 1)], ids=["whole", "broken"]
)
async def test_a_window_waits_for_the_end_of_the_body(
    clock: Clock, body: Callable[[], httpx.Response], failures: int
) -> None:
    """Good headers are not a success yet, and the end of the body counts once."""
    transport = layer(
        Scripted(lambda _: body(), 503), clock, window=CountWindow(2, minimum_calls=2)
    )
    response = await begin(transport)
    await ask(transport)
    assert (state_of(transport), transport.breaker_for(URL).failure_count) == (CLOSED, 1)

    await ended(response)

    assert state_of(transport) is OPEN
    assert transport.breaker_for(URL).failure_count == 1 + failures


@pytest.mark.anyio
@pytest.mark.parametrize(
    "make",
    [lambda: 200, lambda: 503, lambda: httpx.ReadTimeout("slow"), streamed, broken],
    ids=["200", "503", "timeout", "body", "broken body"],
)
async def test_a_call_is_as_slow_as_its_headers(
    clock: Clock, make: Callable[[], httpx.Response | int | Exception]
) -> None:
    """A call whose headers were late is slow and counts once, however it ends."""
    window = CountWindow(1, minimum_calls=1, slow_call_seconds=2.0)
    transport = layer(Scripted(slow(clock, make())), clock, window=window)

    response = await ask(transport)
    if isinstance(response, httpx.Response):
        await ended(response)

    assert state_of(transport) is OPEN
    assert transport.breaker_for(URL).failure_count == 1


@pytest.mark.anyio
async def test_a_slow_body_is_not_a_slow_call(clock: Clock) -> None:
    """A long stream whose headers came quickly does not count against the service."""
    window = CountWindow(1, minimum_calls=1, slow_call_seconds=2.0)
    transport = layer(Scripted(slow(clock, streamed(b"one"), 2.0)), clock, window=window)

    response = await begin(transport)
    clock.advance(1000.0)
    await ended(response)

    assert transport.breaker_for(URL).failure_count == 0


@pytest.mark.anyio
async def test_a_cancelled_call_is_not_seen_by_a_window(clock: Clock) -> None:
    """It has no verdict, and takes no room from calls that have one."""
    transport = layer(Scripted(Held(), 503), clock, window=CountWindow(1, minimum_calls=1))

    await cancelled(partial(ask, transport))
    assert state_of(transport) is CLOSED
    await ask(transport)
    assert state_of(transport) is OPEN


@pytest.mark.anyio
async def test_each_origin_has_a_window(clock: Clock) -> None:
    """Successes of one origin do not make up for failures of another."""
    transport = layer(Scripted(503, 200, 503, 200), clock, window=CountWindow(2, minimum_calls=2))
    for url in (URL, "https://other.test", URL, "https://other.test"):
        await ask(transport, get(url))

    assert state_of(transport) is OPEN
    assert state_of(transport, "https://other.test") is CLOSED


@pytest.mark.anyio
async def test_the_bound_holds_for_windows(clock: Clock) -> None:
    """Every origin is kept from its first call on, and the oldest closed one is evicted."""
    transport = layer(Scripted(200, 503, 200), clock, window=CountWindow(), max_breakers=10)

    for number in range(50):
        await ask(transport, get(f"https://host{number}.test"))

    assert "10 breakers" in repr(transport)


@pytest.mark.anyio
async def test_a_success_of_a_breaker_that_was_forgotten_is_forgotten_too(clock: Clock) -> None:
    """The success of a call whose breaker was evicted does not make a new breaker."""
    held = Held()
    transport = layer(Scripted(held, 200), clock, window=CountWindow(), max_breakers=1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, transport)
        await anyio.wait_all_tasks_blocked()
        await ask(transport, get("https://other.test"))
        held.go.set()

    assert "1 breaker)" in repr(transport)
    assert "of 1 calls" in repr(transport.breaker_for("https://other.test"))


@pytest.mark.anyio
async def test_an_evicted_breaker_reports_no_change(clock: Clock, events: Events) -> None:
    """The slow call that would have opened it ends after its eviction."""
    held = Held()
    window = CountWindow(1, minimum_calls=1, slow_call_seconds=1.0)
    transport = layer(Scripted(held, 200), clock, window=window, max_breakers=1, listener=events)
    evicted = transport.breaker_for(URL)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, transport)
        await anyio.wait_all_tasks_blocked()
        clock.advance(5.0)
        await ask(transport, get("https://other.test"))
        held.go.set()

    assert evicted.state is CLOSED
    assert "of 0 calls" in repr(evicted)
    assert events == []


@pytest.mark.anyio
async def test_many_failing_origins_stay_bounded(clock: Clock, events: Events) -> None:
    """A crawler meets each origin once; the alert does not stay raised."""
    transport = layer(Scripted(503), clock, max_breakers=100, listener=events)
    for number in range(2_000):
        await ask(transport, get(f"https://host{number}.test"))
        clock.advance(COOLDOWN / 50)

    assert "100 breakers" in repr(transport)
    assert transport.breaker_for("https://host1999.test").failure_count == 1
    assert events == []


@pytest.mark.anyio
async def test_without_a_window_a_success_is_counted_by_an_existing_breaker(
    clock: Clock,
) -> None:
    """It resets the count that the successor of an evicted breaker has begun, too."""
    held = Held()
    transport = layer(Scripted(503, held, 200, 503), clock, max_breakers=1)
    await ask(transport)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, transport)
        await anyio.wait_all_tasks_blocked()
        await ask(transport)
        await ask(transport, get("https://other.test"))
        await ask(transport)
        assert transport.breaker_for(URL).failure_count == 1
        held.go.set()

    assert transport.breaker_for(URL).failure_count == 0


# Several probes, cooldowns that grow


@pytest.mark.anyio
async def test_several_probes_close_it(clock: Clock, events: Events) -> None:
    """Of twenty callers three are admitted; two successes are enough, the third is ordinary."""
    good, bad = Held(), Held(503)
    inner = Scripted(good, good, bad, 200)
    transport = recovering(inner, clock, probes=3, probe_success_rate=0.6, listener=events)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask, transport)
        await anyio.wait_all_tasks_blocked()
        assert len(inner.requests) == 3
        good.go.set()
        await anyio.wait_all_tasks_blocked()
        assert state_of(transport) is CLOSED
        bad.go.set()

    assert transport.breaker_for(URL).failure_count == 1
    assert [event.name for event in events.of_circuits] == ["circuit_half_opened", "circuit_closed"]


@pytest.mark.anyio
async def test_a_cancelled_probe_of_several_gives_its_place_back(clock: Clock) -> None:
    """The other probes keep theirs, and exactly one more is admitted."""
    held = Held()
    inner = Scripted(held)
    transport = recovering(inner, clock, probes=2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, transport)
        await anyio.wait_all_tasks_blocked()
        await cancelled(partial(ask, transport))
        for _ in range(5):
            tasks.start_soon(ask, transport)
        await anyio.wait_all_tasks_blocked()
        assert len(inner.requests) == 3
        held.go.set()

    assert state_of(transport) is CLOSED


@pytest.mark.anyio
async def test_the_event_tells_the_cooldown_as_it_is(clock: Clock, events: Events) -> None:
    """It includes the growth and the jitter from the given random source."""

    class Lower:
        def uniform(self, a: float, b: float, /) -> float:
            del b
            return a

    growth = Backoff(base=8.0, cap=100.0, jitter="equal")
    transport = layer(
        Scripted(503), clock, failure_threshold=1, cooldown=growth, rng=Lower(), listener=events
    )
    for _ in range(3):
        await ask(transport)
        clock.advance(transport.breaker_for(URL).shut_for())

    opened = [event for event in events if isinstance(event, CircuitOpened)]
    assert [event.cooldown for event in opened] == [4.0, 8.0, 16.0]


# Manual changes


@pytest.mark.anyio
async def test_an_origin_can_be_forced_open(clock: Clock, events: Events) -> None:
    """Its requests are refused, those of other origins are not, and a reset admits them again."""
    inner = Scripted(200)
    transport = layer(inner, clock, listener=events)
    transport.breaker_for(URL).force_open()
    clock.advance(1e9)

    refusal = await ask(transport)
    assert isinstance(refusal, CircuitBreakerOpenError)
    assert str(refusal).endswith("it was forced open")
    assert isinstance(await ask(transport, get("https://other.test")), httpx.Response)

    transport.breaker_for(URL).reset()
    assert await begin(transport)
    assert events == [
        CircuitModeChanged("api.test", "forced_open", "open", "closed"),
        RequestRejected("api.test", "GET", "/things", RejectReason.CIRCUIT_OPEN, None),
        CircuitModeChanged("api.test", "automatic", "closed", "open"),
    ]


@pytest.mark.anyio
async def test_a_disabled_breaker_lets_everything_through(clock: Clock, events: Events) -> None:
    """However many requests fail, no opening is reported."""
    transport = layer(Scripted(503), clock, listener=events)
    transport.breaker_for(URL).disable()

    answers = await ask_times(20, transport)

    assert all(isinstance(answer, httpx.Response) for answer in answers)
    assert transport.breaker_for(URL).failure_count == 0
    assert events == [CircuitModeChanged("api.test", "disabled", "closed", "closed")]


@pytest.mark.anyio
async def test_an_observed_breaker_tells_and_refuses_nothing(clock: Clock, events: Events) -> None:
    """The events are those of a breaker that refuses, and every request reaches the server."""
    inner = Scripted(*[503] * 10, 200)
    transport = layer(inner, clock, listener=events)
    transport.breaker_for(URL).observe_only()

    await ask_times(10, transport)
    assert state_of(transport) is OPEN
    request = get(URL)
    await ask(transport, request)
    clock.advance(COOLDOWN)
    await ask(transport)

    assert len(inner.requests) == 12
    assert events == [
        CircuitModeChanged("api.test", "observe_only", "closed", "closed"),
        CircuitOpened("api.test", 5, COOLDOWN, "observe_only"),
        CircuitHalfOpened("api.test", "observe_only"),
        CircuitClosed("api.test", "observe_only"),
    ]


@pytest.mark.anyio
async def test_an_observed_breaker_shuts_no_gate(clock: Clock) -> None:
    """The gate is open for layers that retry, since no request is refused."""
    transport = layer(Scripted(503), clock, failure_threshold=1)
    transport.breaker_for(URL).observe_only()
    request = get(URL)
    await ask(transport, request)

    gate = request.extensions["walltrack.gate"]
    assert state_of(transport) is OPEN
    assert gate.shut_for() == 0.0


@pytest.mark.anyio
async def test_a_key_that_raises_gives_the_probe_back(clock: Clock) -> None:
    """The breaker is known since the request began; the next request is the probe."""
    raises = False

    def key(_: httpx.Request) -> str:
        if raises:
            raise ZeroDivisionError
        return "key"

    async def answer(_: httpx.Request) -> httpx.Response:
        nonlocal raises
        raises = len(inner.requests) == 2
        return httpx.Response(503)

    inner = Scripted(answer)
    transport = CircuitBreakerTransport(
        inner, failure_threshold=1, key=key, clock=clock, listener=None
    )
    await transport.handle_async_request(get())
    clock.advance(30)
    with pytest.raises(ZeroDivisionError):
        await transport.handle_async_request(get())
    raises = False
    assert (await transport.handle_async_request(get())).status_code == 503
