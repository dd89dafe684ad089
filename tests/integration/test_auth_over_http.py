"""Credentials of each attempt over real sockets, beneath a client of either family."""

import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from tests.integration.fault_server import Behaviour, Exchange, FaultServer, answer, reset, running
from tests.integration.layered import AT_ONCE, pool
from tests.support import until
from walltrack import BaseAPIClient, RetryPolicy
from walltrack.stack import resilient_transport

pytestmark = pytest.mark.anyio

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])

LARGE = b"x" * 2**20


@pytest.fixture
def tokens() -> Iterator[FaultServer]:
    """A server of another origin, which hands out tokens."""
    with running() as fault_server:
        yield fault_server


def client_over(home: ModuleType, auth: object, **options: Any) -> Any:  # noqa: ANN401 - of either family
    """A client over a stack with credentials, and a single connection for each origin."""
    policy = RetryPolicy(backoff=AT_ONCE.backoff)
    given = {"retry": policy, "listener": None, "attempt_timeout": 5, "auth": auth}
    transport = resilient_transport(pool(None, family=home), **{**given, **options})
    return home.AsyncClient(transport=transport, follow_redirects=True)


def authorized_by(server: FaultServer) -> list[str]:
    """What each request to `server` was authorized by."""
    return [seen.headers.get("authorization", "") for seen in server.seen]


def once_for_each_nonce(*script: Behaviour, body: bytes = b"unauthorized") -> Behaviour:
    """Challenge each request that brings no nonce or one that was used; work off `script`."""
    issued, used, steps = iter(range(100)), set[str](), list(script)

    async def behave(exchange: Exchange) -> None:
        sent = exchange.seen.headers.get("authorization", "")
        nonce = sent.partition('nonce="')[2].partition('"')[0]
        if not nonce or nonce in used:
            fresh = f'Digest realm="r", qop="auth", nonce="{next(issued)}"'
            await answer(401, body, www_authenticate=fresh)(exchange)
        else:
            used.add(nonce)
            await (steps.pop(0) if steps else answer())(exchange)

    return behave


@each_family
@pytest.mark.parametrize("body", [b"unauthorized", LARGE], ids=["small", "large"])
async def test_no_attempt_repeats_what_another_one_sent(
    server: FaultServer, home: ModuleType, body: bytes
) -> None:
    """A POST that is answered 503 is sent again with a new nonce, and its body each time."""
    server.default = once_for_each_nonce(answer(503), body=body)
    async with client_over(home, home.DigestAuth("user", "pass")) as client:
        response = await client.post(server.url, content=b"thing")
    assert (response.status_code, response.extensions["walltrack.attempts"]) == (200, 2)
    sent = [re.findall(r" (?:nonce|nc)=[^,]+", header) for header in authorized_by(server)]
    assert sent == [
        [],
        [' nonce="0"', " nc=00000001"],
        [' nonce="0"', " nc=00000002"],  # which this server, like many, takes for a repetition
        [' nonce="1"', " nc=00000001"],
    ]
    assert {seen.body for seen in server.seen} == {b"thing"}
    # A challenge that is worth reading leaves its connection to the next request.
    assert server.connections == (1 if body is not LARGE else 3)
    await until(lambda: server.open_connections == 0)


async def test_a_client_of_one_api_has_credentials_for_each_attempt(server: FaultServer) -> None:
    """The client's own for all calls, or those of one call; another origin gets neither."""
    server.default = once_for_each_nonce(answer(503), answer(), answer(503))
    once = httpx.DigestAuth("user", "pass")
    auth = {"retry": AT_ONCE, "listener": None, "auth": httpx.DigestAuth("user", "pass")}
    async with BaseAPIClient(server.url, **auth) as client:  # type: ignore[arg-type]
        for options in ({}, {"auth": once}):
            response = await client.get("/thing", **options)  # type: ignore[arg-type]
            assert response.extensions["walltrack.attempts"] == 2
    nonces = [re.findall(r" (?:nonce|nc)=([^,]+)", header) for header in authorized_by(server)]
    sent = [tuple(nonce) for nonce in nonces if nonce]
    assert len(sent) == len(set(sent)) == 6


@each_family
async def test_no_attempt_sends_a_stale_signature(server: FaultServer, home: ModuleType) -> None:
    """Each is signed at its own time, also one that follows a connection that was reset."""
    server.will(answer(503), reset, answer(200))
    times = iter((1000.0, 1001.0, 1002.0))

    def sign(request: httpx.Request) -> httpx.Request:
        request.headers["authorization"] = f"at {next(times):g}"
        return request

    async with client_over(home, sign) as client:
        assert (await client.get(server.url)).status_code == 200
    assert authorized_by(server) == ["at 1000", "at 1001", "at 1002"]


def refreshing(home: ModuleType, url: str) -> Any:  # noqa: ANN401 - of either family
    """An auth that fetches a token from `url` when it has none, or a stale one."""

    class Refreshing(home.Auth):  # type: ignore[misc, name-defined]
        requires_response_body = True
        token = ""

        async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401
            response = None
            while response is None or response.status_code == 401:
                if response is not None or not self.token:
                    token = yield home.Request("POST", url, data={"grant_type": "refresh"})
                    self.token = (await token.aread()).decode()
                request.headers["authorization"] = f"Bearer {self.token}"
                response = yield request

    return Refreshing()


@each_family
async def test_a_token_is_refreshed_within_the_attempt(
    server: FaultServer, tokens: FaultServer, home: ModuleType
) -> None:
    """By a request to its own server, which takes part in the attempt and its timeout."""
    tokens.will(answer(200, b"one"), answer(200, b"two"))
    server.will(answer(503), answer(401, b"stale"), answer(200, b"ok"))
    async with client_over(home, refreshing(home, tokens.url)) as client:
        response = await client.get(server.url)
        assert (response.text, response.extensions["walltrack.attempts"]) == ("ok", 2)
        assert authorized_by(server) == ["Bearer one", "Bearer one", "Bearer two"]
        assert [seen.body for seen in tokens.seen] == [b"grant_type=refresh"] * 2
        assert authorized_by(tokens) == ["", ""]
    assert server.connections == tokens.connections == 1


@each_family
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_redirect_to_another_origin_gets_no_credentials(
    server: FaultServer, tokens: FaultServer, home: ModuleType, method: str
) -> None:
    """Neither in httpx's header nor in one of the API's own; the first origin gets both."""
    server.will(answer(307, location="/again"), answer(307, location=f"{tokens.url}/stranger"))

    def sign(request: httpx.Request) -> httpx.Request:
        request.headers["authorization"] = "secret"
        request.headers["x-signature"] = "secret"
        return request

    async with client_over(home, sign) as client:
        assert (await client.request(method, server.url)).status_code == 200
    for server_there, sent in ((server, ["secret"] * 2), (tokens, [None])):
        for name in ("authorization", "x-signature"):
            assert [seen.headers.get(name) for seen in server_there.seen] == sent


@each_family
async def test_an_attempt_timeout_covers_the_flow(
    server: FaultServer, tokens: FaultServer, home: ModuleType
) -> None:
    """A token that does not come is the end of the attempt, and of its flow and connection."""
    ended: list[str] = []

    class Watched(home.Auth):  # type: ignore[misc, name-defined]
        async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401
            try:
                yield home.Request("POST", tokens.url)
            finally:
                ended.append(request.url.path)

    async def never(exchange: Exchange) -> None:
        await exchange.reader.read()
        exchange.end()

    tokens.default = never
    started = time.monotonic()
    async with client_over(home, Watched(), attempt_timeout=0.05, retry=None) as client:
        with pytest.raises(home.TimeoutException):
            await client.get(f"{server.url}/thing")
        assert ended == ["/thing"]
        await until(lambda: tokens.open_connections == 0)
    assert time.monotonic() - started < 5
    assert server.seen == []


@each_family
async def test_cookies_of_a_retried_response_are_not_carried_over(
    server: FaultServer, home: ModuleType
) -> None:
    """A sticky session would pin the retry to the backend that failed."""
    server.will(answer(503, set_cookie="backend=down"), answer(200, set_cookie="backend=up"))
    async with client_over(home, None) as client:
        await client.get(server.url)
        assert dict(client.cookies) == {"backend": "up"}
        await client.get(server.url)
    assert [seen.headers.get("cookie") for seen in server.seen] == [None, None, "backend=up"]


@each_family
async def test_many_calls_share_one_auth(server: FaultServer, home: ModuleType) -> None:
    """Each has a flow of its own, and no connection is left behind."""
    server.default = once_for_each_nonce()
    statuses: list[int] = []
    async with client_over(home, home.DigestAuth("user", "pass")) as client:

        async def call(get: Callable[[str], Any]) -> None:
            statuses.append((await get(server.url)).status_code)

        async with anyio.create_task_group() as calls:
            for _ in range(8):
                calls.start_soon(call, client.get)
    assert len(statuses) == 8
    assert set(statuses) <= {200, 401}  # Digest gives up when a nonce was taken by another call
    assert 200 in statuses
    await until(lambda: server.open_connections == 0)
