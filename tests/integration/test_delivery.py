"""What is known of a request that failed: whether the server can have acted on it."""

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NoReturn

import anyio
import httpx
import pytest
import trustme
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.integration import origin as origins
from tests.integration import proxy as proxies
from tests.integration.origin import Behaviour, Exchange, Origin
from tests.integration.proxy import Proxy, Serve
from tests.support import Clock
from walltrack import (
    BaseAPIClient,
    CircuitBreaker,
    Delivery,
    ExternalServiceError,
    HTTPTransport,
    RetryPolicy,
    RetryTransport,
)
from walltrack.core.extensions import CallReport

pytestmark = pytest.mark.anyio

PATIENT = 10.0
SHORT = 0.02
PROVEN = RetryPolicy(max_retries=1, non_idempotent="proven")
KEYED = RetryPolicy(max_retries=1, non_idempotent="keyed")


@dataclass
class Way:
    """How a client is to reach a server, or not to."""

    url: str
    verify: ssl.SSLContext | None = None
    proxy: str | None = None
    impatient: dict[str, float] = field(default_factory=dict)
    max_connections: int = 10
    http2: bool = False

    def transport(self, family: ModuleType = httpx) -> httpx.AsyncHTTPTransport:
        """The transport that goes this way."""
        transport: httpx.AsyncHTTPTransport = family.AsyncHTTPTransport(
            verify=self.verify or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            http2=self.http2,
            proxy=self.proxy,
            limits=family.Limits(max_connections=self.max_connections),
        )
        return transport

    def timeout(self, family: ModuleType = httpx) -> httpx.Timeout:
        """How long a client that goes this way waits for what."""
        timeout: httpx.Timeout = family.Timeout(PATIENT, **self.impatient)
        return timeout


@dataclass
class World:
    """Servers, proxies and certificates to fail with."""

    portal: BlockingPortal
    origin: Origin
    trusting: ssl.SSLContext
    monkeypatch: pytest.MonkeyPatch
    stack: ExitStack = field(default_factory=ExitStack)

    def listen(self, serve: Serve) -> int:
        """The port of a server that does nothing but `serve`."""
        listening = proxies.listening(serve)
        return self.stack.enter_context(self.portal.wrap_async_context_manager(listening))

    def socket(self) -> socket.socket:
        """A socket that is bound to a port of loopback, but does not listen."""
        bound = self.stack.enter_context(socket.socket())
        bound.bind(("127.0.0.1", 0))
        return bound

    def proxy(self, instead: Serve | None = None) -> tuple[Proxy, str]:
        """A proxy and its URL."""
        proxying = self.portal.wrap_async_context_manager(proxies.proxying())
        proxy = self.stack.enter_context(proxying)
        proxy.instead = instead
        return proxy, f"http://127.0.0.1:{proxy.port}"

    def road(self, name: str) -> Way:
        """A way to the server that works, by the name of its parts."""
        *_, version = name.rpartition(" ")
        url = self.origin.urls["https" if "TLS" in name else "http"]
        proxy = self.proxy()[1] if "proxy" in name else None
        return Way(url, self.trusting, proxy, http2=version == "HTTP/2")


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own, for servers."""
    with start_blocking_portal("asyncio") as portal:
        yield portal


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority whose certificates the trusting clients accept."""
    return trustme.CA()


@pytest.fixture(scope="module")
def served(
    portal: BlockingPortal, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Origin]:
    """A real server."""
    certificate = authority.issue_cert("127.0.0.1")
    serving = origins.serving(certificate, tmp_path_factory.mktemp("tls"))
    with portal.wrap_async_context_manager(serving) as origin:
        yield origin


@pytest.fixture
def world(
    portal: BlockingPortal,
    authority: trustme.CA,
    served: Origin,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """What a test may fail with; gone after it."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusting)
    served.behaviour = origins.answers(200)
    with ExitStack() as stack:
        yield World(portal, served, trusting, monkeypatch, stack)


async def post(
    family: ModuleType,
    way: Way,
    clock: Clock,
    policy: RetryPolicy = PROVEN,
    inner: httpx.AsyncBaseTransport | None = None,
    **options: Any,  # noqa: ANN401 - handed on to httpx
) -> CallReport:
    """What is known after a POST by a plain client."""
    report = CallReport()
    extensions = {"walltrack.report": report, **options.pop("extensions", {})}
    transport = RetryTransport(
        inner or way.transport(family), policy=policy, listener=None, sleep=clock.sleep
    )
    async with family.AsyncClient(transport=transport, timeout=way.timeout(family)) as client:
        options = {"content": b"buy one", **options}
        try:
            await client.post(way.url, extensions=extensions, **options)
        except family.TransportError:
            assert report.delivery is not None
    return report


async def fail(
    way: Way,
    clock: Clock,
    sends: httpx.AsyncBaseTransport | None = None,
    **options: Any,  # noqa: ANN401 - handed on to httpx
) -> tuple[ExternalServiceError, int]:
    """What a BaseAPIClient says of a POST that failed, and how often its breaker counted it."""
    breaker = CircuitBreaker(100, clock=clock)
    api = BaseAPIClient(
        way.url,
        transport=sends or way.transport(),
        retry=KEYED,
        breaker=breaker,
        timeout=way.timeout(),
        listener=None,
        sleep=clock.sleep,
    )
    async with api:
        with pytest.raises(ExternalServiceError) as caught:
            await api.post("/orders", **{"content": b"buy one", **options})
    return caught.value, breaker.failure_count


# Before anything was sent.


def refused(world: World) -> Way:
    """Nothing listens on the server's port."""
    return Way(f"https://127.0.0.1:{world.socket().getsockname()[1]}")


def unknown_name(world: World) -> Way:
    """The name does not resolve."""

    def unknown(*args: object, **kwargs: object) -> NoReturn:
        del args, kwargs
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    world.monkeypatch.setattr(socket, "getaddrinfo", unknown)
    return Way("https://things.invalid")


def connect_timeout(world: World) -> Way:
    """The server's queue of connections is full."""
    full = world.socket()
    full.listen(0)
    world.stack.enter_context(socket.create_connection(full.getsockname()))
    url = f"https://127.0.0.1:{full.getsockname()[1]}"
    return Way(url, impatient={"connect": SHORT})


def no_tls(world: World) -> Way:
    """The server does not speak TLS."""
    return Way(f"https://127.0.0.1:{world.listen(proxies.answers(400))}")


def closed_in_handshake(world: World) -> Way:
    """The server hangs up on the handshake."""
    return Way(f"https://127.0.0.1:{world.listen(proxies.hangs_up)}")


def reset_in_handshake(world: World) -> Way:
    """The server resets the connection on the handshake."""
    return Way(f"https://127.0.0.1:{world.listen(proxies.resets)}")


def silent_in_handshake(world: World) -> Way:
    """The server never answers the handshake."""
    url = f"https://127.0.0.1:{world.listen(proxies.says_nothing)}"
    return Way(url, impatient={"connect": SHORT})


def no_free_connection(world: World) -> Way:
    """The pool has no place."""
    url = world.origin.urls["https"]
    return Way(url, world.trusting, impatient={"pool": SHORT}, max_connections=0)


def no_proxy(world: World) -> Way:
    """Nothing listens on the proxy's port."""
    proxy = f"http://127.0.0.1:{world.socket().getsockname()[1]}"
    return Way(world.origin.urls["https"], world.trusting, proxy)


def by_proxy(instead: Serve) -> Callable[[World], Way]:
    """The proxy does not open a tunnel."""

    def way(world: World) -> Way:
        proxy = world.proxy(instead)[1]
        return Way(world.origin.urls["https"], world.trusting, proxy, {"read": SHORT})

    return way


def through_a_tunnel(arrange: Callable[["World"], Way]) -> Callable[["World"], Way]:
    """The connection fails behind a proxy that works."""

    def way(world: World) -> Way:
        way = arrange(world)
        way.proxy = world.proxy()[1]
        return way

    return way


def untrusted(world: World) -> Way:
    """The client trusts no authority that signed the server's certificate."""
    return Way(world.origin.urls["https"])


NOT_SENT = {
    "refused": refused,
    "unknown name": unknown_name,
    "connect timeout": connect_timeout,
    "no TLS": no_tls,
    "closed in handshake": closed_in_handshake,
    "reset in handshake": reset_in_handshake,
    "silent in handshake": silent_in_handshake,
    "no free connection": no_free_connection,
    "no proxy": no_proxy,
    "proxy silent on CONNECT": by_proxy(proxies.says_nothing),
    "proxy resets on CONNECT": by_proxy(proxies.resets),
    "proxy hangs up on CONNECT": by_proxy(proxies.hangs_up),
    "proxy answers 407": by_proxy(proxies.answers(407)),
    "proxy answers 502": by_proxy(proxies.answers(502)),
    "no TLS, through a tunnel": through_a_tunnel(no_tls),
    "refused, through a tunnel": through_a_tunnel(refused),
    "silent in handshake, through a tunnel": through_a_tunnel(silent_in_handshake),
}

UNTRUSTED = {
    "unknown authority": untrusted,
    "unknown authority, through a tunnel": through_a_tunnel(untrusted),
}

either_version = pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
every_reason = pytest.mark.parametrize("arrange", NOT_SENT.values(), ids=NOT_SENT)
every_distrust = pytest.mark.parametrize("arrange", UNTRUSTED.values(), ids=UNTRUSTED)


@either_version
@every_reason
async def test_a_post_that_was_not_sent_is_known_not_to_be(
    family: ModuleType, world: World, clock: Clock, arrange: Callable[[World], Way], *, http2: bool
) -> None:
    """It is reported as not sent, and a `"proven"` policy retries it."""
    way = arrange(world)
    way.http2 = http2
    assert await post(family, way, clock) == CallReport(2, Delivery.NOT_SENT)


@every_reason
async def test_the_error_of_a_client_says_that_nothing_was_sent(
    world: World, clock: Clock, arrange: Callable[[World], Way]
) -> None:
    """ExternalServiceError carries the same knowledge; a full pool is no failure of the service."""
    error, failures = await fail(arrange(world), clock)
    assert (error.delivery, error.attempts) == (Delivery.NOT_SENT, 2)
    assert failures == (0 if arrange is NOT_SENT["no free connection"] else 2)
    assert "it was not sent" in str(error)


@either_version
@every_distrust
async def test_a_certificate_that_fails_is_not_asked_again(
    family: ModuleType, world: World, clock: Clock, arrange: Callable[[World], Way], *, http2: bool
) -> None:
    """Nothing was sent to a server that could not prove its name, and it is not retried."""
    way = arrange(world)
    way.http2 = http2
    assert await post(family, way, clock) == CallReport(1, Delivery.NOT_SENT)


@every_distrust
async def test_a_certificate_that_fails_counts_against_the_service(
    world: World, clock: Clock, arrange: Callable[[World], Way]
) -> None:
    """The breaker counts a service that cannot prove its name as failing."""
    error, failures = await fail(arrange(world), clock)
    assert (error.delivery, error.attempts, failures) == (Delivery.NOT_SENT, 1, 1)


# After some of it was sent.

ROADS = (
    "HTTP/1.1",
    "TLS HTTP/1.1",
    "TLS HTTP/2",
    "forward proxy HTTP/1.1",
    "tunnel of a proxy TLS HTTP/1.1",
    "tunnel of a proxy TLS HTTP/2",
)

SENT: dict[str, tuple[Behaviour, int]] = {
    "reset before it was read": (origins.resets_at_once, 10),
    "reset in the upload": (origins.resets_in_the_upload, 4 * 2**20),
    "silence": (origins.says_nothing, 10),
    "reset in the response": (origins.resets_in_the_response, 10),
}

every_road = pytest.mark.parametrize("road", ROADS)
every_break = pytest.mark.parametrize(("behaviour", "size"), SENT.values(), ids=SENT)
uploads_end_early = pytest.mark.filterwarnings(
    # httpcore leaves the body of a request that it cannot send to the garbage collector.
    "ignore:.*ByteStream.__aiter__:pytest.PytestUnraisableExceptionWarning"
)


@uploads_end_early
@every_road
@every_break
async def test_a_post_that_was_sent_may_have_been_acted_on(
    family: ModuleType, world: World, clock: Clock, *, road: str, behaviour: Behaviour, size: int
) -> None:
    """It is reported as uncertain, and a `"proven"` policy does not retry it."""
    way = world.road(road)
    way.impatient = {"read": SHORT} if behaviour is origins.says_nothing else {}
    world.origin.behaviour = behaviour
    report = await post(family, way, clock, content=bytes(size))
    assert report == CallReport(1, Delivery.UNCERTAIN)


@uploads_end_early
@every_break
@pytest.mark.parametrize("road", ["HTTP/1.1", "TLS HTTP/2", "tunnel of a proxy TLS HTTP/1.1"])
async def test_the_error_of_a_client_says_that_the_service_may_have_acted(
    world: World, clock: Clock, road: str, behaviour: Behaviour, size: int
) -> None:
    """ExternalServiceError carries the same knowledge; a full pool is no failure of the service."""
    way = world.road(road)
    way.impatient = {"read": SHORT} if behaviour is origins.says_nothing else {}
    world.origin.behaviour = behaviour
    error, failures = await fail(way, clock, content=bytes(size))
    assert (error.delivery, error.attempts, failures) == (Delivery.UNCERTAIN, 2, 2)
    assert "may have acted" in str(error)


@pytest.mark.parametrize("own", [True, False], ids=["HTTPTransport", "AsyncHTTPTransport"])
@pytest.mark.parametrize("road", ["TLS HTTP/1.1", "TLS HTTP/2"])
async def test_a_damaged_tls_record_is_a_broken_connection(
    world: World, clock: Clock, road: str, *, own: bool
) -> None:
    """Asyncio raises `ssl.SSLError`, and a client reports it like other broken connections."""
    way = world.road(road)
    world.origin.behaviour = origins.damages_the_connection
    sends = HTTPTransport(verify=world.trusting, http2=way.http2) if own else None
    error, failures = await fail(way, clock, sends)
    assert (error.delivery, error.attempts, failures) == (Delivery.UNCERTAIN, 2, 2)
    assert isinstance(error.__cause__, httpx.NetworkError)


@contextmanager
def no_file_left() -> Iterator[None]:
    """Let this process open no file or socket."""
    resource = pytest.importorskip("resource")
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("own", [True, False], ids=["HTTPTransport", "AsyncHTTPTransport"])
async def test_that_no_file_is_left_is_not_held_against_the_service(
    world: World, clock: Clock, *, own: bool
) -> None:
    """The program has too many files open: nothing was sent, and the request is retried."""
    way = world.road("HTTP/1.1")
    sends = HTTPTransport(verify=world.trusting) if own else way.transport()
    with no_file_left():
        error, failures = await fail(way, clock, sends)
    assert (error.delivery, error.attempts, failures) == (Delivery.NOT_SENT, 2, 0)
    assert isinstance(error.__cause__, httpx.ConnectError)


@every_road
@pytest.mark.parametrize(("status", "attempts"), [(429, 2), (500, 1), (503, 2)])
async def test_only_a_refusal_is_proof_that_the_server_did_not_act(
    family: ModuleType, world: World, clock: Clock, *, road: str, status: int, attempts: int
) -> None:
    """Of the failing statuses, only 429 and 503 say that nothing was done."""
    world.origin.behaviour = origins.answers(status)
    report = await post(family, world.road(road), clock)
    assert report == CallReport(attempts, Delivery.ANSWERED)


@every_road
async def test_every_road_leads_to_the_server(
    family: ModuleType, world: World, clock: Clock, road: str
) -> None:
    """With no fault, the server is reached by the version meant, and there is nothing to report."""
    versions: list[str] = []
    way = world.road(road)

    async def look(name: str, info: object) -> None:
        del info
        versions.append(name.partition(".")[0])

    assert await post(family, way, clock, extensions={"trace": look}) == CallReport(1, None)
    assert versions[-1] == ("http2" if way.http2 else "http11")


# From one attempt to the next.


async def test_an_attempt_is_judged_by_itself(
    family: ModuleType, world: World, clock: Clock
) -> None:
    """That an earlier attempt was sent does not mean that the next one was."""
    proxy, url = world.proxy()
    way = Way(world.origin.urls["https"], world.trusting, url)

    async def refuse(exchange: Exchange) -> None:
        proxy.instead = proxies.answers(502)
        await origins.answers(503)(exchange)

    world.origin.behaviour = refuse
    policy = RetryPolicy(max_retries=2, non_idempotent="proven")
    report = await post(family, way, clock, policy, headers={"connection": "close"})
    assert report == CallReport(3, Delivery.ANSWERED)
    assert proxy.asked == ["CONNECT"] * 3


async def test_an_attempt_that_may_have_acted_is_never_forgotten(
    family: ModuleType, world: World, clock: Clock
) -> None:
    """A call of which one attempt is uncertain is uncertain, even if the last was not sent."""
    proxy, url = world.proxy()
    way = Way(world.origin.urls["https"], world.trusting, url)

    async def break_off(exchange: Exchange) -> None:
        proxy.instead = proxies.answers(502)
        exchange.origin.reset()

    world.origin.behaviour = break_off
    report = await post(family, way, clock, KEYED)
    assert (report.attempts, report.delivery) == (2, Delivery.UNCERTAIN)


async def test_a_connection_that_is_used_again_proves_nothing(
    family: ModuleType, world: World, clock: Clock
) -> None:
    """A POST on a connection that was kept alive, and broke, may have been acted on."""
    way = world.road("TLS HTTP/1.1")
    report = CallReport()
    transport = RetryTransport(
        way.transport(family), policy=PROVEN, listener=None, sleep=clock.sleep
    )
    async with family.AsyncClient(transport=transport, timeout=PATIENT) as client:
        await client.post(way.url)
        world.origin.behaviour = origins.resets_at_once
        with pytest.raises(family.TransportError):
            await client.post(way.url, extensions={"walltrack.report": report})
    assert report == CallReport(1, Delivery.UNCERTAIN)


# What it takes to know.


@pytest.mark.parametrize("arrange", [refused, by_proxy(proxies.answers(502))])
async def test_the_callers_own_trace_is_called_as_well(
    family: ModuleType, world: World, clock: Clock, arrange: Callable[[World], Way]
) -> None:
    """A caller's trace gets the steps of every attempt, and the delivery is still known."""
    heard: list[str] = []

    async def trace(name: str, info: object) -> None:
        del info
        heard.append(name)

    report = await post(family, arrange(world), clock, extensions={"trace": trace})
    assert report == CallReport(2, Delivery.NOT_SENT)
    assert heard.count("connection.connect_tcp.started") == 2


class Looking(httpx.AsyncBaseTransport):
    """Keeps the requests that pass through it."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
async def test_what_may_be_repeated_is_not_traced(
    family: ModuleType, world: World, method: str
) -> None:
    """An idempotent request is sent as it is, without the cost of a trace."""
    inner = Looking(world.road("HTTP/1.1").transport(family))
    async with family.AsyncClient(transport=RetryTransport(inner, listener=None)) as client:
        request = client.build_request(method, world.origin.urls["http"])
        await client.send(request)
    assert inner.requests == [request]
    assert "trace" not in request.extensions


async def test_a_body_that_is_watched_is_not_traced_for_that(
    family: ModuleType, world: World
) -> None:
    """A PUT whose body can be read only once is sent as a copy, but without a trace."""

    async def body() -> AsyncIterator[bytes]:
        yield b"all of it"

    inner = Looking(world.road("HTTP/1.1").transport(family))
    async with family.AsyncClient(transport=RetryTransport(inner, listener=None)) as client:
        await client.put(world.origin.urls["http"], content=body())
    assert "trace" not in inner.requests[0].extensions


async def test_without_a_trace_a_silent_proxy_proves_nothing(
    family: ModuleType, world: World, clock: Clock
) -> None:
    """Of a GET only the exception's class is known, and a read timeout may be the server's."""
    way = by_proxy(proxies.says_nothing)(world)
    report = CallReport()
    transport = RetryTransport(
        way.transport(family), policy=PROVEN, listener=None, sleep=clock.sleep
    )
    async with family.AsyncClient(transport=transport, timeout=way.timeout(family)) as client:
        with pytest.raises(family.ReadTimeout):
            await client.get(way.url, extensions={"walltrack.report": report})
    assert report == CallReport(2, Delivery.UNCERTAIN)


class Foreign(httpx.AsyncBaseTransport):
    """A transport that raises a ConnectError although it has sent the request."""

    def __init__(self, family: ModuleType, *states: Delivery | None) -> None:
        self.family = family
        self.states = list(states)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        port = request.url.port
        assert port is not None
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            try:
                await stream.send(b"POST / HTTP/1.1\r\nhost: things\r\n\r\n")
                await stream.receive()
            except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
                if state := self.states.pop(0):
                    request.extensions["walltrack.delivery"] = state
                raise self.family.ConnectError("connection reset") from error
        raise AssertionError("the server was to break off")


@pytest.mark.parametrize(
    ("states", "report"),
    [
        pytest.param([None], CallReport(1, Delivery.UNCERTAIN), id="nothing"),
        pytest.param([Delivery.UNCERTAIN], CallReport(1, Delivery.UNCERTAIN), id="uncertain"),
        pytest.param([Delivery.ANSWERED], CallReport(1, Delivery.ANSWERED), id="answered"),
        pytest.param([Delivery.NOT_SENT] * 2, CallReport(2, Delivery.NOT_SENT), id="not sent"),
        pytest.param(
            [Delivery.NOT_SENT, None], CallReport(2, Delivery.UNCERTAIN), id="only of the first"
        ),
    ],
)
async def test_another_transport_is_believed_what_it_states_and_nothing_else(
    family: ModuleType,
    world: World,
    clock: Clock,
    states: list[Delivery | None],
    report: CallReport,
) -> None:
    """A ConnectError that is not httpcore's may come after the request was sent."""
    way = Way(f"http://127.0.0.1:{world.listen(_reads_and_resets)}")
    assert await post(family, way, clock, inner=Foreign(family, *states)) == report


async def _reads_and_resets(reader: Any, writer: Any) -> None:  # noqa: ANN401 - asyncio's streams
    await reader.readuntil(b"\r\n\r\n")
    proxies.reset(writer)
