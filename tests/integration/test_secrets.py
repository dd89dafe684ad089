"""A secret goes to its server, and nowhere else: whatever fails, nothing of ours shows it."""

import logging
import pickle
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import httpx
import pytest
import structlog.testing
from pydantic import SecretStr

from tests.integration.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    answer,
    broken_chunk,
    close,
    cut,
    head,
    late,
    reset,
)
from tests.integration.layered import pool
from tests.support import Clock, Events, until
from walltrack import (
    BaseAPIClient,
    CircuitBreaker,
    CircuitBreakerTransport,
    Event,
    ExternalServiceError,
    ResponseTooLargeError,
    RetryPolicy,
    RetryTransport,
    WallTrackError,
    log_event,
    redact_httpx_logs,
)
from walltrack.core.family import LOGGERS

pytestmark = [
    pytest.mark.anyio,
    # A body that is too long, or that cannot be decompressed, is left half-way, in httpx's way.
    pytest.mark.filterwarnings("ignore:Async generator 'httpx2?:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Async generator 'httpcore2?:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Async generator 'walltrack:ResourceWarning"),
]

# For headers and bodies, for queries, for userinfo, and for paths: none may be hidden for another's
# sake.
SECRET, QUERY, PASSWORD, TOKEN = "hunter2", "opensesame", "swordfish", "bot31:xyzzy"
ENCODED = "dXNlcjpzd29yZGZpc2g="  # user:swordfish in base 64, as Authorization has it
USERINFO = f"user:{PASSWORD}@"

Logged = list[MutableMapping[str, Any]]


def says(start: str) -> Behaviour:
    """Answers with nothing but `start`, as it is."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(start.encode() + b"\r\n\r\n")
        exchange.end()

    return behave


async def endless(exchange: Exchange) -> None:
    """A body that does not end."""
    await exchange.send(head(200, {"content-length": str(2**40)}) + SECRET.encode() * 1000)
    exchange.end()


def echoes(status: int, **headers: str) -> Behaviour:
    """The secret comes back, in a header and in the body."""
    return answer(status, f'{{"error": "no {SECRET}"}}'.encode(), x_token=SECRET, **headers)


FAILURES = [
    pytest.param(echoes(400), id="400"),
    pytest.param(echoes(503), id="503"),
    pytest.param(echoes(503, retry_after="3600"), id="503, come back in an hour"),
    pytest.param(echoes(503, retry_after=SECRET), id="503, come back at no time"),
    pytest.param(close, id="closed"),
    pytest.param(reset, id="reset"),
    pytest.param(late(0.2), id="silence"),
    pytest.param(cut(SECRET.encode()), id="cut"),
    pytest.param(broken_chunk(), id="broken chunk"),
    pytest.param(says(f"HTTP/1.1 {SECRET}"), id="bad status line"),
    pytest.param(says(f"HTTP/1.1 200 OK\r\n {SECRET}\r\n{SECRET}"), id="bad header"),
    pytest.param(says(f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}"), id="bad length"),
    pytest.param(says(f"HTTP/1.1 500 {SECRET}"), id="reason"),
    pytest.param(endless, id="endless"),
    pytest.param(answer(302, location=f"{SECRET}://{SECRET}\x7f/"), id="bad redirect"),
    pytest.param(answer(302, location=f"/?q={SECRET}"), id="redirects without end"),
    pytest.param(
        answer(200, SECRET.encode(), content_encoding="gzip"), id="cannot be decompressed"
    ),
]


@dataclass
class Heard:
    """Everything that events and logs show of a call."""

    logged: Logged
    records: list[logging.LogRecord]
    events: Events = field(default_factory=Events)

    def listen(self, event: Event) -> None:
        """Keep `event`, and log it as it is logged by default."""
        self.events(event)
        log_event(event)

    def text(self) -> str:
        """All of it."""
        formatter = logging.Formatter("%(name)s %(message)s")
        lines = [formatter.format(record) for record in self.records]
        return "\n".join([repr(self.events), str(self.events), repr(self.logged), *lines])


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[Heard]:
    """What walltrack's loggers emit at every level."""
    caplog.set_level(logging.DEBUG, "walltrack")
    with structlog.testing.capture_logs() as logged:
        heard = Heard(logged, [])
        yield heard


@pytest.fixture
def text(heard: Heard, caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Everything that was emitted until now."""

    def text() -> str:
        heard.records[:] = [r for r in caplog.records if r.name.startswith("walltrack")]
        return heard.text()

    return text


def shown(error: BaseException) -> str:
    """All that an exception shows in a traceback, in its texts and in its pickle."""
    texts = traceback.format_exception(error)
    seen: BaseException | None = error
    while seen is not None:
        texts += [str(seen), repr(seen)]
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, WallTrackError):
        pickled = pickle.dumps(error)
        texts += [pickled.decode("latin-1"), repr(pickle.loads(pickled))]  # noqa: S301 - our own
    return "\n".join(texts)


def leaks(text: str) -> list[str]:
    """The lines that show the secret, in any of its forms."""
    secrets = (SECRET, QUERY, PASSWORD, TOKEN, ENCODED)
    return [line for line in text.splitlines() if any(secret in line for secret in secrets)]


def client_of(server: FaultServer, heard: Heard, clock: Clock, **options: Any) -> BaseAPIClient:  # noqa: ANN401 - handed on
    """A client that has the secret wherever a client can have one."""
    return BaseAPIClient(
        server.url.replace("://", f"://{USERINFO}") + f"/{TOKEN}",
        **{
            "timeout": 0.05,
            "headers": {"X-Api-Key": SECRET, "X-Secret": SecretStr(SECRET)},
            "params": {"api-key": QUERY, "token": SecretStr(QUERY)},
            "retry": RetryPolicy(max_retries=1, non_idempotent="keyed"),
            "max_response_bytes": 2000,
            "listener": heard.listen,
            "sleep": clock.sleep,
            "transport": pool(None),
            **options,
        },
    )


ASKED: dict[str, Any] = {
    "params": {"more": QUERY},
    "headers": {"X-Call": SecretStr(SECRET), "Cookie": f"sid={SECRET}"},
    "json": {"password": SECRET},
    "follow_redirects": True,
}


@pytest.mark.parametrize("fault", FAILURES)
async def test_no_failure_shows_a_secret(
    server: FaultServer, clock: Clock, heard: Heard, text: Callable[[], str], fault: Behaviour
) -> None:
    """Neither the error and its causes, nor its pickle, nor events, logs and reprs."""
    server.default = fault
    async with client_of(server, heard, clock) as client:
        with pytest.raises(ExternalServiceError) as caught:
            await client.post("/things", **ASKED)
        reprs = repr(client) + repr(client.circuit_breaker) + str(vars(caught.value))
    sent = server.seen[0]
    assert sent.target == f"/{TOKEN}/things?api-key={QUERY}&token={QUERY}&more={QUERY}"
    assert SECRET.encode() in sent.body
    assert sent.headers["authorization"].endswith(ENCODED)
    assert {"x-api-key", "x-secret", "x-call"} <= {
        n for n, v in sent.headers.items() if v == SECRET
    }
    assert leaks(shown(caught.value)) == []
    assert leaks(text() + reprs) == []


async def test_a_refusal_shows_no_secret(
    server: FaultServer, clock: Clock, heard: Heard, text: Callable[[], str]
) -> None:
    """Neither do the events of the circuit, nor its rejections."""
    server.default = echoes(503)
    breaker = CircuitBreaker(2, 30, clock=clock)
    async with client_of(server, heard, clock, breaker=breaker) as client:
        errors = []
        for _ in range(2):
            with pytest.raises(WallTrackError) as caught:
                await client.post("/things", **ASKED)
            errors.append(caught.value)
    assert heard.events.names == [
        "retry_scheduled",
        "circuit_opened",
        "retry_stopped",
        "request_rejected",
    ]
    assert leaks("".join(map(shown, errors)) + text()) == []


async def test_a_stream_that_breaks_off_shows_no_secret(
    server: FaultServer, clock: Clock, heard: Heard, text: Callable[[], str]
) -> None:
    """The same holds for a body with malformed chunks."""
    server.will(cut(SECRET.encode(), missing=2**21), broken_chunk())
    async with client_of(server, heard, clock) as client:
        for _ in range(2):
            with pytest.raises(ExternalServiceError) as caught:
                async with client.stream("POST", "/things", **ASKED) as response:
                    await response.aread()
            assert leaks(shown(caught.value)) == []
    assert leaks(text()) == []


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"X-Bad": f"{SECRET}\n"}, id="ends with a new line"),
        pytest.param({"X-Bad": f"a\r\nX-Evil: {SECRET}"}, id="smuggles a header"),
        pytest.param({"X-Bad": SecretStr(f"{SECRET}\x00")}, id="has a NUL"),
        pytest.param({SECRET + " ": "a"}, id="has a bad name"),
    ],
)
async def test_a_header_that_cannot_be_sent_shows_no_secret(
    server: FaultServer,
    clock: Clock,
    heard: Heard,
    text: Callable[[], str],
    headers: Any,  # noqa: ANN401 - wrong on purpose
) -> None:
    """The text of the protocol error, which would quote the header, is withheld."""
    async with client_of(server, heard, clock, headers=headers) as client:
        with pytest.raises(ExternalServiceError) as caught:
            await client.post("/things", **ASKED)
    assert isinstance(caught.value.__cause__, httpx.LocalProtocolError)
    await until(lambda: server.connections == 1)  # which it accepts while the client goes on
    assert server.seen == []
    assert leaks(shown(caught.value)) == []
    assert leaks(text()) == []


async def test_where_there_is_no_server_no_secret_is_shown(
    clock: Clock, heard: Heard, text: Callable[[], str]
) -> None:
    """The connection is refused, the host is unknown, or there is no host."""
    for port in (1, 0):
        async with client_of(FaultServer(port=port), heard, clock) as client:
            with pytest.raises(ExternalServiceError) as caught:
                await client.post("/things", **ASKED)
        assert leaks(shown(caught.value)) == []
    assert leaks(text()) == []


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (f"https://{SECRET}:x@elsewhere.test/?key={SECRET}#{SECRET}", {}),
        (f"//elsewhere.test/?key={SECRET}", {}),
        (f"ftp://user:{SECRET}@elsewhere.test/", {}),
        (f"http://[x/?key={SECRET}", {}),
        (f"/\n{SECRET}", {}),
        (f"/%2e%2e/?key={SECRET}", {}),
        (f"{SECRET}:things", {}),
        ("/things", {"unknown": SECRET}),
        ("/things", {"json": SecretStr(SECRET)}),
        ("/things", {"headers": {"X-Key": SecretStr(f"{SECRET}\u20ac")}}),
        ("/things", {"extensions": {"walltrack.retry": True}, "headers": {"X-Key": SECRET}}),
    ],
)
async def test_a_request_that_is_not_made_shows_no_secret(
    server: FaultServer, clock: Clock, heard: Heard, path: str, options: dict[str, Any]
) -> None:
    """A request that is rejected before it is sent is not quoted in the error."""
    async with client_of(server, heard, clock) as client:
        with pytest.raises((ValueError, TypeError)) as caught:
            await client.post(path, **options)
    assert server.seen == []
    assert leaks(shown(caught.value)) == []


@pytest.mark.parametrize("url", [f"https://user:{SECRET}@/", f"https://a.test/?key={SECRET}"])
def test_a_base_url_that_is_refused_is_not_quoted(url: str) -> None:
    """Also what cannot be a base URL may hold a secret."""
    with pytest.raises(ValueError, match="base_url must") as caught:
        BaseAPIClient(url)
    assert leaks(shown(caught.value)) == []


@pytest.mark.parametrize(
    "fault", [echoes(503), says(f"HTTP/1.1 {SECRET}")], ids=["503", "bad status line"]
)
async def test_a_listener_that_raises_makes_no_layer_show_a_secret(
    server: FaultServer, clock: Clock, heard: Heard, text: Callable[[], str], fault: Behaviour
) -> None:
    """Its failure is logged with the name of the event, but not with the event's content."""

    def raising(_: Event) -> None:
        raise RuntimeError("no disk")

    server.default = fault
    breaker = CircuitBreaker(2, 30, clock=clock)
    async with client_of(server, heard, clock, listener=raising, breaker=breaker) as client:
        with pytest.raises(ExternalServiceError):
            await client.post("/things", **ASKED)
    assert "listener failed on circuit_opened" in text()
    assert leaks(text()) == []


async def test_a_body_that_is_too_long_is_not_shown(
    family: ModuleType, server: FaultServer, heard: Heard
) -> None:
    """Neither to the callers of a plain client, nor in the pickle that they may send."""
    server.default = endless
    transport = RetryTransport(max_response_bytes=2000, listener=heard.listen)
    async with family.AsyncClient(transport=transport, headers={"X-Api-Key": SECRET}) as client:
        with pytest.raises(ResponseTooLargeError) as caught:
            await client.get(
                server.url, params={"key": SECRET}, extensions={"walltrack.whole_body": True}
            )
    assert leaks(shown(caught.value)) == []


@pytest.mark.parametrize("fault", FAILURES)
async def test_around_a_plain_client_nothing_of_ours_shows_a_secret(
    family: ModuleType,
    server: FaultServer,
    clock: Clock,
    heard: Heard,
    *,
    text: Callable[[], str],
    fault: Behaviour,
) -> None:
    """The exceptions of httpx are as they are; events, logs, refusals and reprs are ours."""
    server.default = fault
    inner = pool(None, family=family)
    breaker = CircuitBreakerTransport(
        inner, failure_threshold=2, clock=clock, listener=heard.listen
    )
    transport = RetryTransport(breaker, sleep=clock.sleep, listener=heard.listen)
    url = server.url.replace("://", f"://{USERINFO}") + f"/{TOKEN}/things?api-key={QUERY}"
    route = {"walltrack.route": "/{token}/things"}
    refusals = []
    async with family.AsyncClient(transport=transport, timeout=0.05) as client:
        for _ in range(3):
            try:
                await client.post(url, headers={"X-Api-Key": SECRET}, json=SECRET, extensions=route)
            except WallTrackError as error:
                refusals.append(shown(error))
            except family.HTTPError as error:
                assert error.request.url.password == PASSWORD  # noqa: PT017 - its own affair
    reprs = repr(transport) + repr(breaker) + repr(breaker.breaker_for(url))
    assert leaks(text() + "".join(refusals) + reprs) == []


async def test_httpx_s_own_line_can_be_redacted(
    family: ModuleType,
    server: FaultServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it the line shows the URL whole; with it neither userinfo nor query."""
    for logger in map(logging.getLogger, LOGGERS):
        monkeypatch.setattr(logger, "filters", [])
    caplog.set_level(logging.DEBUG, family.__name__)
    url = server.url.replace("://", f"://{USERINFO}") + f"/things?api-key={QUERY}#{SECRET}"
    async with family.AsyncClient(transport=pool(family=family)) as client:
        await client.get(url)
        assert leaks(caplog.text) != []
        caplog.clear()
        redact_httpx_logs()
        redact_httpx_logs()
        await client.get(url)
    assert leaks(caplog.text) == []
    assert f'GET {server.url}/things "HTTP/1.1 200' in caplog.text
    caplog.clear()
    redact_httpx_logs(paths=False)
    async with family.AsyncClient(transport=pool(family=family)) as client:
        await client.get(server.url + f"/{TOKEN}/things?api-key={QUERY}")
    assert leaks(caplog.text) == []
    assert f'GET {server.url}/... "HTTP/1.1 200' in caplog.text


@pytest.mark.parametrize("behind", [False, True], ids=["in its text", "behind it"])
async def test_a_strangers_error_shows_no_secret(
    clock: Clock, heard: Heard, text: Callable[[], str], *, behind: bool
) -> None:
    """A transport of somebody else's may quote the URL in what it raises, or in its cause."""

    def failing(request: httpx.Request) -> httpx.Response:
        quoted = f"no way to {request.url}"
        raise httpx.ConnectError("no way" if behind else quoted) from OSError(quoted)

    transport = httpx.MockTransport(failing)
    async with client_of(FaultServer(port=1), heard, clock, transport=transport) as client:
        with pytest.raises(ExternalServiceError) as caught:
            await client.post("/things", **ASKED)
    assert leaks(shown(caught.value)) == []
    assert leaks(text()) == []
