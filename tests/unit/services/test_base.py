from functools import partial
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from tests.support import Body, Clock, Events, IteratorBody, Scripted
from tests.unit.services.clients import (
    HEADERS,
    PARAMS,
    URL,
    Make,
    Things,
    failure_of,
    shown,
)
from walltrack import (
    BaseAPIClient,
    CircuitBreakerOpenError,
    Classification,
    ConcurrencyLimitError,
    Delivery,
    ExternalServiceError,
    Outcome,
    RateLimitError,
    RetryPolicy,
    Settings,
    TimeLimitExceededError,
    get_settings,
)
from walltrack.circuit_breaker import breaker, state
from walltrack.concurrency_limit.transport import ConcurrencyLimitTransport
from walltrack.services import base

asynchronous = pytest.mark.anyio


VERBS = ["get", "head", "post", "put", "patch", "delete"]


async def never(_: httpx.Request) -> httpx.Response:
    """No answer at all."""
    await anyio.sleep_forever()
    raise AssertionError  # pragma: no cover - the sleep never ends


# Requests


@asynchronous
@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_takes_options(make: Make, verb: str) -> None:
    """The options have httpx's names, and reach the request."""
    inner = Scripted(204)
    await getattr(make(inner=inner), verb)(
        "/a", params={"x": "1"}, headers={"X-A": "1"}, timeout=3.0, extensions={"mine": 1}
    )
    [request] = inner.requests
    assert request.url.query == b"x=1"
    assert request.headers["X-A"] == "1"
    assert request.extensions["timeout"]["read"] == 3.0
    assert request.extensions["mine"] == 1


@asynchronous
@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({"content": b"bytes"}, b"bytes"),
        ({"json": {"a": 1}}, b'{"a":1}'),
        ({"data": {"a": "1"}}, b"a=1"),
    ],
)
async def test_a_body_is_sent_on_every_attempt(
    make: Make, options: dict[str, Any], body: bytes
) -> None:
    """Each attempt sends the body as httpx encodes it."""
    inner = Scripted(503, 200)
    await make(inner=inner).post("/a", **options)
    assert [request.content for request in inner.requests] == [body] * 2


@asynchronous
async def test_files_are_sent(make: Make) -> None:
    """Files are sent as multipart, as by httpx."""
    inner = Scripted(200)
    await make(inner=inner).post("/a", files={"f": b"the file"})
    assert b"the file" in await inner.requests[0].aread()


@asynchronous
async def test_auth_reaches_the_request(make: Make) -> None:
    """It becomes the header that httpx makes of it."""
    inner = Scripted(200)
    await make(inner=inner).get("/a", auth=("me", "hunter2"))
    assert inner.requests[0].headers["Authorization"].startswith("Basic ")


@asynchronous
@pytest.mark.parametrize(("follow", "status"), [(True, 200), (False, 302)])
async def test_redirects_are_followed_when_asked_for(
    make: Make, *, follow: bool, status: int
) -> None:
    """Otherwise, a 3xx response is returned, and is no failure."""
    client = make(httpx.Response(302, headers={"Location": "/b"}), 200)
    response = await client.get("/a", follow_redirects=follow)
    assert response.status_code == status


@asynchronous
async def test_a_response_is_read_whole(make: Make) -> None:
    """Its content is there, and its connection free."""
    body = Body(b"so", b"so")
    response = await make(httpx.Response(200, stream=body)).get("/a")
    assert response.content == b"soso"
    assert body.closes == 1


@asynchronous
async def test_headers_of_a_request_go_before_those_of_the_client(make: Make) -> None:
    """They replace the client's in any letter case; the other headers stay."""
    inner = Scripted(200)
    client = make(inner=inner, headers={"X-A": "1", "X-B": "1"})
    await client.get("/a", headers={"x-a": "2"})
    headers = inner.requests[0].headers
    assert (headers.get_list("X-A"), headers["X-B"]) == (["2"], "1")


@asynchronous
async def test_params_of_a_request_go_before_those_of_the_client(make: Make) -> None:
    """The others stay, and so does the query of the path."""
    inner = Scripted(200)
    client = make(inner=inner, params={"a": "1", "b": "1"})
    await client.get("/a?c=1", params={"a": "2"})
    assert dict(inner.requests[0].url.params) == {"a": "2", "b": "1", "c": "1"}


@asynchronous
async def test_the_query_of_a_path_is_sent_as_written(make: Make) -> None:
    """It is not encoded again if no parameter is added."""
    inner = Scripted(200)
    await make(inner=inner).get("/a?x=a+b&y")
    assert inner.requests[0].url.query == b"x=a+b&y"


@asynchronous
@pytest.mark.parametrize("path", ["https://evil.test/a", "//evil.test/a", "../admin"])
async def test_a_path_that_leads_elsewhere_is_refused(make: Make, path: str) -> None:
    """It is rejected before anything is sent, so that credentials go to no other origin."""
    inner = Scripted(200)
    client = make(inner=inner, headers=HEADERS)
    with pytest.raises(ValueError, match="path must"):
        await client.get(path)
    with pytest.raises(ValueError, match="path must"):
        async with client.stream("GET", path):
            pytest.fail("it was sent")  # pragma: no cover
    assert inner.requests == []


@asynchronous
async def test_an_option_of_another_name_is_refused(make: Make) -> None:
    """It is rejected before anything is sent, in a request and in a stream."""
    inner = Scripted(200)
    client: Any = make(inner=inner)
    with pytest.raises(TypeError, match="a request has no option parms; it takes auth,"):
        await client.get("/a", parms={"x": "1"})
    with pytest.raises(TypeError, match="a request has no option follow_redirect; it"):
        async with client.stream("GET", "/a", follow_redirect=True):
            pytest.fail("it was sent")  # pragma: no cover
    assert inner.requests == []


@asynchronous
@pytest.mark.parametrize(
    ("location", "key"), [("/b", "hunter2"), ("https://other.test/b", None)], ids=["home", "away"]
)
async def test_headers_of_the_client_follow_no_redirect_elsewhere(
    make: Make, location: str, key: str | None
) -> None:
    """An API key is sent only to its own API."""
    inner = Scripted(httpx.Response(302, headers={"Location": location}), 200)
    await make(inner=inner, headers=HEADERS).get("/a", follow_redirects=True)
    assert [request.headers.get("X-Key") for request in inner.requests] == ["hunter2", key]


# Resilience


@asynchronous
async def test_clients_can_share_a_breaker(make: Make) -> None:
    """A circuit that one client opens rejects the other's calls."""
    breaker = base.CircuitBreaker(failure_threshold=1)
    await failure_of(make(503, breaker=breaker))
    other = make(200, breaker=breaker)
    assert other.circuit_breaker is breaker
    with pytest.raises(CircuitBreakerOpenError):
        await other.get("/a")


@asynchronous
async def test_a_policy_can_be_given(make: Make, clock: Clock) -> None:
    """A policy applies to the whole client, or to one call."""
    client = make(503, retry=RetryPolicy(max_retries=1))
    assert (await failure_of(client)).attempts == 2
    assert (await failure_of(client, extensions={"walltrack.retry": False})).attempts == 1
    assert clock.sleeps == [1.0]


@asynchronous
async def test_a_client_asks_its_classifier(make: Make) -> None:
    """All layers use it: no retry, no failure for the breaker, and an error for the caller."""

    def classify(outcome: Outcome) -> Classification | None:
        body = outcome.json()
        if isinstance(body, dict) and body.get("code") == "insufficient_quota":
            return Classification(retry=False, failure=False)
        return None

    broke = httpx.Response(429, json={"code": "insufficient_quota"})
    inner = Scripted(broke, 503, 200)
    client = make(inner=inner, classify=[classify])
    with pytest.raises(ExternalServiceError) as caught:
        await client.get("/chat")
    assert (caught.value.attempts, client.circuit_breaker.failure_count) == (1, 0)
    assert (await client.get("/chat")).status_code == 200
    assert len(inner.requests) == 3


@asynchronous
async def test_events_name_the_service(make: Make, events: Events) -> None:
    """Events of both layers reach the listener, with the name of the service."""
    client = make(503, service="things")
    for _ in range(2):
        await failure_of(client)
    assert {event.service for event in events} == {"things"}
    assert {"retry_scheduled", "retry_stopped", "circuit_opened"} <= set(events.names)


@asynchronous
async def test_the_log_is_the_listener_unless_another_is_given(clock: Clock) -> None:
    """An entry for each event goes to structlog."""
    client = BaseAPIClient(URL, transport=Scripted(503, 200), sleep=clock.sleep)
    with capture_logs() as logs:
        await client.get("/a")
    names = ["retry_scheduled", "call_succeeded_after_retries"]
    assert [entry["event"] for entry in logs] == names


@asynchronous
async def test_no_listener_is_needed(make: Make) -> None:
    """Without a listener, calls behave in the same way."""
    assert (await failure_of(make(503, listener=None))).attempts == 4


# Limits


@asynchronous
async def test_there_are_no_limits_by_default(make: Make) -> None:
    """By default there are none, since only the author of a client knows its service."""
    shown = repr(vars(make(200)))
    assert "RetryTransport(CircuitBreakerTransport(AuthTransport(" in shown
    assert shown.count("Transport(") == 3


@asynchronous
async def test_limits_stand_in_the_standard_order(make: Make) -> None:
    """Each limit is at the position that `resilient_transport` gives it."""
    limits = {
        "deadline": 9,
        "attempt_timeout": 3,
        "rate_limit": 10,
        "concurrency_limit": "adaptive",
    }
    assert (
        "TimeoutTransport(RetryTransport(RateLimitTransport(ConcurrencyLimitTransport("
        "CircuitBreakerTransport(TimeoutTransport("
    ) in repr(vars(make(200, **limits)))


@asynchronous
async def test_a_deadline_ends_the_call(make: Make) -> None:
    """It ends with the error of a service that does not respond, and with its delivery."""
    client = make(never, deadline=0.01)
    error = await failure_of(client)
    assert isinstance(error.__cause__, TimeLimitExceededError)
    assert error.__cause__.limit == "deadline"
    assert (error.attempts, error.delivery) == (1, Delivery.UNCERTAIN)


@asynchronous
async def test_a_deadline_counts_the_waits(make: Make, clock: Clock) -> None:
    """A retry that would come too late is not waited for."""
    error = await failure_of(make(503, deadline=3.5))
    assert (error.attempts, clock.sleeps) == (3, [1.0, 2.0])


@asynchronous
async def test_the_body_of_a_stream_counts_for_the_deadline(make: Make) -> None:
    """A body that takes too long is a failure of the service, like one that breaks off."""

    class Silent(IteratorBody):
        async def next_chunk(self) -> bytes:
            await anyio.sleep_forever()
            raise AssertionError  # pragma: no cover - the sleep never ends

    client = make(httpx.Response(200, stream=Silent()), deadline=0.01)
    with pytest.raises(ExternalServiceError) as raised:
        async with client.stream("GET", "/a") as response:
            await response.aread()
    assert isinstance(raised.value.__cause__, TimeLimitExceededError)


@asynchronous
async def test_an_attempt_that_takes_too_long_is_repeated(make: Make) -> None:
    """It is retried, and counted by the breaker, which is outside the attempt timeout."""
    client = make(never, 503, 200, attempt_timeout=0.01)
    response = await client.get("/a")
    assert response.extensions["walltrack.attempts"] == 3


@asynchronous
async def test_a_rate_outlives_the_connections(make: Make, clock: Clock) -> None:
    """Closing the client and opening it again does not reset the limit."""
    client = make(200, rate_limit=0.1)
    await client.get("/a")
    await client.close()
    await client.get("/a")
    assert clock.sleeps == [pytest.approx(10.0, abs=1.0)]


@asynchronous
async def test_places_outlive_the_connections(make: Make) -> None:
    """A response that is still being read holds a permit; a rejection names the service."""
    limit = partial(ConcurrencyLimitTransport, limit=1, max_queue=0, listener=None)
    client = make(
        lambda _: httpx.Response(200, stream=Body(b"so")), service="things", concurrency_limit=limit
    )
    async with client.stream("GET", "/a"):
        await client.close()
        with pytest.raises(ConcurrencyLimitError) as raised:
            await client.get("/a")
    assert raised.value.service == "things"
    assert client.circuit_breaker.failure_count == 0
    assert (await client.get("/a")).status_code == 200


@asynchronous
async def test_limits_are_heard_of(make: Make, events: Events) -> None:
    """The same listener gets their events, with the name of the service."""
    client = make(200, service="things", rate_limit=0.01)
    await client.get("/a")
    with pytest.raises(RateLimitError):
        await client.get("/a")
    [event] = events
    assert (event.name, event.service) == ("request_rejected", "things")


# Opening and closing


@asynchronous
async def test_without_a_transport_it_can_still_be_mocked(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replacement of httpx's own transport is used, and made again after each close."""
    made: list[Scripted] = []

    def transport(**_: object) -> Scripted:
        made.append(Scripted(200))
        return made[-1]

    monkeypatch.setattr(httpx, "AsyncHTTPTransport", transport)
    client = make(transport=None)
    for _ in range(2):
        await client.get("/a")
        await client.close()
    assert [(len(inner.requests), inner.closed) for inner in made] == [(1, 1)] * 2


def test_a_proxy_that_cannot_be_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is rejected when the client is made, not at its first request."""
    monkeypatch.setenv("ALL_PROXY", "gopher://me:hunter2@proxy.test")
    with pytest.raises(ValueError, match="the environment's proxy for all://") as raised:
        make(transport=None)
    assert "hunter2" not in shown(raised.value)


# Settings


@asynchronous
async def test_settings_say_how_a_client_behaves(make: Make, clock: Clock) -> None:
    """Settings give the threshold, cooldown, retries, backoff and timeout."""
    settings = Settings(
        circuit_breaker_threshold=2,
        circuit_breaker_cooldown=7,
        retry_max_retries=1,
        retry_backoff_base=3.0,
        retry_backoff_cap=5.0,
        http_timeout=9.0,
    )
    inner = Scripted(503)
    client = make(inner=inner, settings=settings)
    breaker = client.circuit_breaker
    assert (breaker.failure_threshold, breaker.cooldown_seconds) == (2, 7)
    assert (await failure_of(client)).attempts == 2
    assert clock.sleeps == [3.0]
    assert inner.requests[0].extensions["timeout"] == dict.fromkeys(
        ("connect", "read", "write", "pool"), 9.0
    )


@asynchronous
async def test_the_cap_of_the_settings_holds(make: Make, clock: Clock) -> None:
    """No wait is longer than the cap."""
    settings = Settings(retry_max_retries=3, retry_backoff_base=3.0, retry_backoff_cap=5.0)
    await failure_of(make(503, settings=settings))
    assert clock.sleeps == [3.0, 5.0, 5.0]


def test_settings_come_from_the_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is read unless settings are given."""
    monkeypatch.setenv("CIRCUIT_BREAKER_THRESHOLD", "17")
    get_settings.cache_clear()
    try:
        assert make(200).circuit_breaker.failure_threshold == 17
    finally:
        get_settings.cache_clear()


@asynchronous
@pytest.mark.parametrize(("given", "read"), [(3.0, 3.0), (httpx.Timeout(5.0, read=60.0), 60.0)])
async def test_a_timeout_that_is_given_goes_before_the_settings(
    make: Make, given: float | httpx.Timeout, read: float
) -> None:
    """It is a number of seconds, or an `httpx.Timeout` with separate values."""
    inner = Scripted(200)
    await make(inner=inner, timeout=given).get("/a")
    assert inner.requests[0].extensions["timeout"]["read"] == read


@pytest.mark.parametrize("timeout", ["abc", True, object()])
def test_a_timeout_that_is_no_number_is_refused(make: Make, timeout: object) -> None:
    """When the client is made, not when it is first used."""
    with pytest.raises(TypeError, match="timeout must be a number"):
        make(200, timeout=timeout)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf")])
def test_a_timeout_that_cannot_be_is_refused(make: Make, timeout: float) -> None:
    """Zero would fail every request, and an infinite timeout would never end a wait."""
    with pytest.raises(ValueError, match="timeout must be a finite number above 0"):
        make(200, timeout=timeout)


# Names and secrets


def test_a_service_is_called_by_its_host_unless_it_has_a_name() -> None:
    """By default it is called by its host, without userinfo."""
    assert BaseAPIClient("https://me:hunter2@api.test:8443/v1").service == "api.test:8443"
    assert BaseAPIClient(URL, service="things").service == "things"


def test_a_base_url_that_is_none_is_refused() -> None:
    """When the client is made, not when it is first used."""
    with pytest.raises(ValueError, match="base_url"):
        BaseAPIClient("api.test")


@asynchronous
async def test_secrets_are_unwrapped_in_the_request(make: Make) -> None:
    """Secrets of the client and those of one request are sent unwrapped."""
    inner = Scripted(200)
    await make(inner=inner, headers=HEADERS, params=PARAMS).get(
        "/a", headers={"X-Other": SecretStr("other")}, params={"token": SecretStr("token")}
    )
    [request] = inner.requests
    assert request.headers["X-Key"] == "hunter2"
    assert request.headers["X-Other"] == "other"
    assert dict(request.url.params) == {"key": "swordfish", "page": "1", "token": "token"}


@asynchronous
async def test_a_client_shows_no_secret(make: Make) -> None:
    """Neither its repr nor its attributes show one, before a request or after it."""
    client = make(200, headers=HEADERS, params=PARAMS)
    before = repr(client) + repr(vars(client))
    await client.get("/a")
    text = before + repr(client) + repr(vars(client)) + repr(vars(client._session))  # noqa: SLF001 - to look for leaks
    assert "hunter2" not in text
    assert "swordfish" not in text


def test_a_client_shows_its_class_its_service_and_its_breaker(make: Make) -> None:
    """Its repr shows these for a debugger."""
    client = make(200)
    assert repr(client) == f"<Things api.test, {client.circuit_breaker!r}>"


def test_the_module_hands_on_the_breaker() -> None:
    """Code that imports it from this module gets the same class."""
    assert base.CircuitBreaker is breaker.CircuitBreaker
    assert base.CircuitState is state.CircuitState
    assert {"CircuitBreaker", "CircuitState"} <= set(base.__all__)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("retry", False, TypeError),
        ("retry", 5, TypeError),
        ("breaker", 5, TypeError),
        ("budget", 0, TypeError),
        ("sleep", 5, TypeError),
        ("max_response_bytes", 0, ValueError),
        ("max_response_bytes", "x", TypeError),
        ("deadline", 0, ValueError),
        ("attempt_timeout", "x", TypeError),
        ("rate_limit", -1, ValueError),
        ("concurrency_limit", 0, ValueError),
    ],
)
def test_bad_input_is_refused_by_name(name: str, value: Any, error: type[Exception]) -> None:  # noqa: ANN401 - bad on purpose
    """Input that would fail at the first request or be ignored is rejected at once."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(error, match=f"^{name} must be"):
        BaseAPIClient("https://api.test", **options)


# What else a client of httpx takes


@asynchronous
async def test_credentials_are_made_for_each_attempt(make: Make, clock: Clock) -> None:
    """Those of the client and those of one call, which replace them; None is for no credentials."""

    def at(name: str) -> Any:  # noqa: ANN401 - a function
        def sign(request: httpx.Request) -> httpx.Request:
            request.headers["authorization"] = f"{name} {clock():g}"
            return request

        return sign

    inner = Scripted(503, 200)
    client = make(inner=inner, auth=at("client"))
    await client.get("/a")
    await client.get("/a", auth=at("call"))
    await client.get("/a", auth=None)
    assert [request.headers.get("authorization") for request in inner.requests] == [
        "client 1000",
        "client 1001",
        "call 1001",
        None,
    ]


@asynchronous
async def test_credentials_replace_the_userinfo_of_the_base_url() -> None:
    """As in a client of httpx; without them it is used, as before."""
    inner, seen = Scripted(200), "Basic dXNlcjpvbGQ="
    for auth, expected in ((("user", "new"), "Basic dXNlcjpuZXc="), (None, seen)):
        client = BaseAPIClient("https://user:old@api.test", transport=inner, auth=auth)
        await client.get("/a")
        assert inner.requests[-1].headers["authorization"] == expected
    sign = {"auth": lambda request: request}
    await BaseAPIClient("https://user:old@api.test", transport=inner, **sign).get("/a")  # type: ignore[arg-type]
    assert "authorization" not in inner.requests[-1].headers


@pytest.mark.parametrize("auth", ["hunter2", httpx2.BasicAuth("me", "hunter2"), httpx.BasicAuth])
def test_credentials_that_httpx_does_not_take_are_refused(make: Make, auth: object) -> None:
    """When they are given, also those of the other family; no secret is shown."""
    with pytest.raises(TypeError, match=r"\bauth\b") as refused:
        make(200, auth=auth)
    assert "hunter2" not in str(refused.value)


def test_the_options_of_the_connection_are_those_of_the_transport_that_it_makes() -> None:
    """With a transport they are refused, and so is a name that does not exist, with a list."""
    BaseAPIClient(URL, verify=False, http2=True, limits=httpx.Limits(max_connections=1))
    with pytest.raises(TypeError, match=r"^limits must be a Limits of httpx"):
        BaseAPIClient(URL, limits=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"ignore http2: .* BaseAPIClient\(transport=HTTP"):
        Things(URL, transport=Scripted(200), http2=True)
    with pytest.raises(TypeError, match=r"^BaseAPIClient\(\) has no option verfy; it ") as refused:
        BaseAPIClient(URL, verfy=False)  # type: ignore[call-arg]
    listed = str(refused.value).partition("it takes ")[2].split(", ")
    assert {"auth", "base_url", "breaker_key", "verify", "uds"} <= set(listed)
    assert not {"self", "connection"} & set(listed)


# Its circuit breakers


@asynchronous
async def test_statuses_that_the_breaker_counts_can_be_chosen(make: Make) -> None:
    """For example, where a 403 means that the service is down, and a 503 does not."""
    client = make(503, 403, retry=RetryPolicy(max_retries=0), breaker_statuses=frozenset({403}))
    for failures in (0, 1):
        await failure_of(client)
        assert client.circuit_breaker.failure_count == failures


@asynchronous
async def test_each_key_can_have_a_breaker(make: Make) -> None:
    """All have the client's settings; an open one rejects only the requests of its key."""
    client = make(
        500,
        service="things",
        settings=Settings(circuit_breaker_threshold=1, circuit_breaker_cooldown=7),
        breaker_key=lambda request: request.headers["x-tenant"],
    )
    for tenant in ("a", "b"):
        await failure_of(client, "GET", "/a", headers={"x-tenant": tenant})
        with pytest.raises(CircuitBreakerOpenError) as raised:
            await client.get("/a", headers={"x-tenant": tenant})
        assert raised.value.service == "things"
        assert 6 < raised.value.retry_after <= 7
    assert repr(client) == "<Things things, breakers by key>"
    with pytest.raises(AttributeError, match="a circuit breaker for each breaker_key"):
        _ = client.circuit_breaker
    with pytest.raises(ValueError, match=r"^breaker and breaker_key must not both be given"):
        make(200, breaker=breaker.CircuitBreaker(), breaker_key=hash)
    with pytest.raises(TypeError, match=r"^breaker_key must be a function"):
        make(200, breaker_key="tenant")
