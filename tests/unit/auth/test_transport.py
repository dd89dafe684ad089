from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from tests.support import Body, Clock, Scripted, Step, get, post
from walltrack import (
    AuthTransport,
    Delivery,
    RetryPolicy,
    RetryTransport,
    TransportClosedError,
)
from walltrack.core.extensions import DELIVERY

pytestmark = pytest.mark.anyio

Steps = Generator[httpx.Request, httpx.Response, None]


class Flow(httpx.Auth):
    """An auth whose flow is a function; it notes how often one began and how each ended.

    Args:
        flow: The flow.
        body: Which bodies it needs: "request" or "response".
    """

    def __init__(self, flow: Callable[[httpx.Request], Steps], body: str = "") -> None:
        self._flow = flow
        self.requires_request_body = body == "request"
        self.requires_response_body = body == "response"
        self.begun = self.ended = 0

    def auth_flow(self, request: httpx.Request) -> Steps:
        self.begun += 1
        try:
            yield from self._flow(request)
        finally:
            self.ended += 1


def challenged(request: httpx.Request) -> Steps:
    """Answers one challenge, as Digest does."""
    response = yield request
    if response.status_code == 401:
        request.headers["authorization"] = f"answer to {response.headers['x-nonce']}"
        yield request


def challenge(*chunks: bytes | BaseException, nonce: str = "1") -> httpx.Response:
    """A 401 whose body is still to be read."""
    return httpx.Response(401, headers={"x-nonce": nonce}, stream=Body(*chunks))


def body_of(response: httpx.Response) -> Body:
    """The body that a test gave to a response."""
    found: Any = response.stream
    while not isinstance(found, Body):
        found = found._stream  # noqa: SLF001 - the one inside
    return found


class Server(Scripted):
    """Notes the credentials of each request; a flow may send the same request again, changed."""

    def __init__(self, *steps: Step) -> None:
        super().__init__(*steps)
        self.sent: list[str | None] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.headers.get("authorization"))
        return await super().handle_async_request(request)


# What is sent


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (("user", "pass"), "Basic dXNlcjpwYXNz"),
        (httpx.BasicAuth("user", "pass"), "Basic dXNlcjpwYXNz"),
        (lambda request: _with(request, "signed"), "signed"),
        (None, None),
    ],
)
async def test_credentials_are_given_as_to_a_client(auth: Any, expected: str | None) -> None:  # noqa: ANN401 - any kind
    """They can be a tuple, an Auth, a function or None."""
    inner = Server(200)
    await AuthTransport(inner, auth).handle_async_request(get())
    assert inner.sent == [expected]


def _with(request: httpx.Request, value: str) -> httpx.Request:
    request.headers["authorization"] = value
    return request


async def test_each_attempt_is_signed_anew(clock: Clock) -> None:
    """A retry has a signature of its own, and nothing of the previous attempt's credentials."""

    def sign(request: httpx.Request) -> httpx.Request:
        assert "authorization" not in request.headers
        return _with(request, f"signed at {clock():g}")

    inner, request = Server(503, 503, 200), get()
    transport = RetryTransport(AuthTransport(inner, sign), sleep=clock.sleep, listener=None)
    assert (await transport.handle_async_request(request)).status_code == 200
    assert inner.sent == ["signed at 1000", "signed at 1001", "signed at 1003"]
    assert "authorization" not in request.headers


async def test_a_challenge_is_answered_within_the_attempt() -> None:
    """The outer layers see only the last response; the earlier ones are read and closed."""
    auth, first = Flow(challenged), challenge(b"authenticate")
    body, inner = body_of(first), Server(first, 200)
    response = await AuthTransport(inner, auth).handle_async_request(post(content=b"x"))
    assert response.status_code == 200
    assert inner.sent == [None, "answer to 1"]
    assert (body.read, body.closes) == (12, 1)
    assert (auth.begun, auth.ended) == (1, 1)


@pytest.mark.parametrize("body", ["request", "response"])
async def test_a_flow_gets_the_bodies_that_it_needs(body: str) -> None:
    """It gets the request body before it signs, or each response body before it continues."""
    seen: list[bytes] = []

    def flow(request: httpx.Request) -> Steps:
        seen.append(request.content if body == "request" else b"")
        response = yield request
        seen.append(response.content if body == "response" else b"")
        yield request

    async def upload() -> AsyncIterator[bytes]:
        yield b"once"

    answers = [httpx.Response(200, stream=Body(b"one")), httpx.Response(200, stream=Body(b"two"))]
    inner = Server(*answers)
    request = post(content=upload() if body == "request" else b"bytes")
    response = await AuthTransport(inner, Flow(flow, body)).handle_async_request(request)
    assert await response.aread() == b"two"
    await response.aclose()
    assert seen == ([b"once", b""] if body == "request" else [b"", b"one"])
    assert [await request.aread() for request in inner.requests] == [
        b"once" if body == "request" else b"bytes"
    ] * 2


async def test_requests_of_the_flow_are_sent_with_the_callers_timeouts() -> None:
    """A flow makes requests without timeouts, and could wait for a token without end."""

    def refresh(request: httpx.Request) -> Steps:
        token = yield httpx.Request("POST", "https://tokens.test/")
        yield _with(request, str(token.status_code))

    inner, timeouts = Server(201, 200), {"pool": 1.0, "read": 2.0}
    request = get(extensions={"timeout": timeouts})
    await AuthTransport(inner, Flow(refresh)).handle_async_request(request)
    assert [request.url.host for request in inner.requests] == ["tokens.test", "api.test"]
    assert [request.extensions["timeout"] for request in inner.requests] == [timeouts] * 2
    assert inner.sent == [None, "201"]


async def test_a_body_that_can_be_read_once_is_not_sent_again() -> None:
    """Sending it again raises httpx's StreamConsumed, whatever kind of stream it is."""
    transport = AuthTransport(reading := Server(_reads(challenge())), Flow(challenged))
    request = post()
    request.stream = Body(b"once")
    with pytest.raises(httpx.StreamConsumed):
        await transport.handle_async_request(request)
    assert len(reading.requests) == 1


def _reads(response: httpx.Response) -> Callable[[httpx.Request], Any]:
    async def step(request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for _ in request.stream:
            pass
        return response

    return step


async def test_what_inner_layers_say_of_an_attempt_reaches_the_outer_ones() -> None:
    """For example, the proof that nothing was sent, so that a POST is retried."""

    def refused(request: httpx.Request) -> httpx.Response:
        request.extensions[DELIVERY] = Delivery.NOT_SENT
        raise httpx.ReadTimeout("before anything was sent")

    inner = Server(refused, 200)
    policy = RetryPolicy(non_idempotent="proven")
    transport = RetryTransport(
        AuthTransport(inner, Flow(challenged)), policy=policy, sleep=Clock().sleep, listener=None
    )
    assert (await transport.handle_async_request(post())).status_code == 200


# Which origins get credentials


async def test_another_origin_gets_no_credentials() -> None:
    """Only the first origin gets them; a redirect may lead to an untrusted origin."""
    inner = Server(200)
    transport = AuthTransport(inner, ("user", "pass"))
    for url in ("https://a.test/", "https://b.test/", "http://a.test/", "https://a.test:444/"):
        await transport.handle_async_request(get(url))
    await transport.handle_async_request(get("https://a.test:443/again"))
    assert [bool(value) for value in inner.sent] == [True, False, False, False, True]


async def test_the_origin_can_be_given() -> None:
    """Then the first request does not determine the origin."""
    inner = Server(200)
    transport = AuthTransport(inner, ("user", "pass"), origin="https://b.test/v1")
    for url in ("https://a.test/", "https://b.test/"):
        await transport.handle_async_request(get(url))
    assert [bool(value) for value in inner.sent] == [False, True]


async def test_a_call_can_have_credentials_of_its_own_or_none() -> None:
    """They replace those of the transport for this call, and go to no other origin either."""
    inner = Server(200)
    transport = AuthTransport(inner, lambda request: _with(request, "ours"))
    for auth in ({}, {"walltrack.auth": lambda r: _with(r, "its own")}, {"walltrack.auth": None}):
        await transport.handle_async_request(get(extensions=auth))
    own = {"walltrack.auth": ("user", "pass")}
    await transport.handle_async_request(get("https://b.test/", extensions=own))
    assert inner.sent == ["ours", "its own", None, None]
    with pytest.raises(TypeError, match=r"^extensions\['walltrack.auth'\] must be an Auth"):
        await transport.handle_async_request(get(extensions={"walltrack.auth": 1}))


async def test_it_serves_both_families_and_refuses_to_mix_them() -> None:
    """A tuple serves either; an Auth of the other family is refused by name."""
    inner: Any = Server(lambda _: httpx2.Response(200))
    client: Any = httpx2.AsyncClient(transport=AuthTransport(inner, ("user", "pass")))
    await client.get("https://api.test/")
    assert inner.sent == ["Basic dXNlcjpwYXNz"]
    client = httpx2.AsyncClient(transport=AuthTransport(inner, httpx.BasicAuth("user", "pass")))
    with pytest.raises(TypeError, match="client is one of httpx2, but its auth is one of httpx:"):
        await client.get("https://api.test/")
    mismatched = AuthTransport(httpx2.AsyncHTTPTransport(), ("user", "pass"))
    with pytest.raises(TypeError, match="transport inside is one of httpx2"):
        await mismatched.handle_async_request(get())


# How it ends


class Bug(Exception):  # noqa: N818 - represents any exception of a flow
    """A mistake in a flow."""


def _raises(request: httpx.Request) -> Steps:
    yield request
    raise Bug


async def test_an_exception_of_the_flow_closes_the_response() -> None:
    """It propagates as it is, and the flow is closed."""
    auth, response = Flow(_raises), httpx.Response(200, stream=Body(b"left"))
    with pytest.raises(Bug):
        await AuthTransport(Server(response), auth).handle_async_request(get())
    assert body_of(response).closes == auth.ended == 1


async def test_a_flow_that_fails_to_end_closes_the_response() -> None:
    """Its exception propagates, and the response, which no caller gets, is closed."""

    class Auth(httpx.Auth):
        async def async_auth_flow(
            self, request: httpx.Request
        ) -> AsyncGenerator[httpx.Request, httpx.Response]:
            yield request
            raise Bug

    response = httpx.Response(200, stream=Body(b"left"))
    with pytest.raises(Bug):
        await AuthTransport(Server(response), Auth()).handle_async_request(get())
    assert body_of(response).closes == 1


async def test_a_failed_request_closes_the_flow() -> None:
    """This includes a request that the caller cancelled."""
    auth = Flow(challenged)
    with pytest.raises(httpx.ConnectError):
        await AuthTransport(Server(httpx.ConnectError), auth).handle_async_request(get())
    assert auth.ended == 1

    async def never(_: httpx.Request) -> httpx.Response:
        scope.cancel()
        await anyio.sleep_forever()
        raise AssertionError  # pragma: no cover - it is cancelled

    with anyio.CancelScope() as scope:
        await AuthTransport(Server(never), auth).handle_async_request(get())
    assert scope.cancelled_caught
    assert (auth.begun, auth.ended) == (2, 2)


async def test_a_body_that_breaks_off_in_the_flow_ends_the_attempt() -> None:
    """The attempt is retried like any other, with a new flow."""
    auth = Flow(challenged, "response")
    inner = Server(challenge(b"part", httpx.ReadError("reset")), challenge(nonce="2"), 200)
    transport = RetryTransport(AuthTransport(inner, auth), sleep=Clock().sleep, listener=None)
    response = await transport.handle_async_request(get())
    assert response.extensions["walltrack.attempts"] == 2
    assert inner.sent == [None, None, "answer to 2"]
    assert auth.begun == 2


async def test_closing_ends_a_flow_before_its_next_request() -> None:
    """No further request is sent, and the last response is closed."""

    async def closes(_: httpx.Request) -> httpx.Response:
        await transport.aclose()
        return first

    auth, first = Flow(challenged), challenge()
    body = body_of(first)
    transport = AuthTransport(inner := Server(closes, 200), auth)
    with pytest.raises(TransportClosedError):
        await transport.handle_async_request(get())
    assert (len(inner.requests), body.closes, auth.ended) == (1, 1, 1)
    assert (await transport.handle_async_request(get())).status_code == 200


class _Silent(httpx.Auth):
    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if request.method != "GET":
            yield request


@pytest.mark.parametrize("auth", [lambda _: None, _Silent()], ids=["function", "flow"])
async def test_what_is_no_request_is_refused(auth: Any) -> None:  # noqa: ANN401 - wrong on purpose
    """For example, when a function forgets to return the request."""
    with pytest.raises(TypeError, match=r"^auth must yield or return requests, got a NoneType"):
        await AuthTransport(Server(200), auth).handle_async_request(get())


def test_no_repr_shows_credentials() -> None:
    """They show only the kind of credentials."""
    shown = repr(AuthTransport(Server(200), ("user", "hunter2"), origin="https://a:hunter2@b"))
    assert shown == "AuthTransport(Server(), auth=<tuple>)"
    with pytest.raises(TypeError, match=r"^auth must be an Auth"):
        AuthTransport(Server(200), "hunter2")  # type: ignore[arg-type]
