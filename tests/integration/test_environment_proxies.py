"""The proxies of the environment, through a real one, beside a plain client of either family."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
import trustme

from tests.integration.fault_server import FaultServer, running
from tests.integration.proxy import Proxy, answers
from walltrack import BaseAPIClient, ExternalServiceError, RetryPolicy
from walltrack.stack import resilient_transport

pytestmark = pytest.mark.anyio

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])

ONCE = RetryPolicy(max_retries=0)
AUTHORITY = trustme.CA()


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One authority to trust; the usual ones take 20 ms to load."""
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.fixture
def secure_server() -> Iterator[FaultServer]:
    """A server over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    with running(context) as fault_server:
        yield fault_server


def by_name(server: FaultServer) -> str:
    """The URL of a server, by its host's name instead of its address."""
    return server.url.replace("127.0.0.1", "localhost")


async def ways(proxy: Proxy, client: Any, urls: list[str]) -> list[str]:  # noqa: ANN401 - of either family
    """What the proxy was asked for each URL; nothing where the proxy was not used."""
    found: list[str] = []
    async with client:
        for url in urls:
            before = len(proxy.asked)
            assert (await client.get(url)).text == "ok"
            found.append("".join(proxy.asked[before:]))
    return found


@each_family
@pytest.mark.parametrize(
    ("name", "no", "passed_by"),
    [
        ("HTTP_PROXY", "", []),
        ("http_proxy", "", []),
        ("ALL_PROXY", "", []),
        ("HTTPS_PROXY", "", ["localhost", "127.0.0.1"]),
        ("HTTP_PROXY", "localhost", ["localhost"]),
        ("ALL_PROXY", "127.0.0.1", ["127.0.0.1"]),
        ("HTTP_PROXY", "other.test, localhost,127.0.0.1", ["localhost", "127.0.0.1"]),
        ("ALL_PROXY", "localhost:{port}", ["localhost"]),
        ("HTTP_PROXY", "localhost:1", []),
        ("HTTP_PROXY", "http://localhost", ["localhost"]),
        ("HTTP_PROXY", "https://localhost", []),
        ("ALL_PROXY", ".localhost", []),
        ("HTTP_PROXY", "host", []),
        ("ALL_PROXY", "*", ["localhost", "127.0.0.1"]),
    ],
)
async def test_requests_go_the_way_of_a_plain_client(
    *,
    server: FaultServer,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    home: ModuleType,
    name: str,
    no: str,
    passed_by: list[str],
) -> None:
    """Through the proxy, or directly where NO_PROXY says so."""
    monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", no.format(port=server.port))
    urls = [by_name(server), server.url]
    plain = await ways(proxy, home.AsyncClient(), urls)
    ours = await ways(proxy, home.AsyncClient(transport=resilient_transport()), urls)
    expected = ["" if host in passed_by else "GET" for host in ("localhost", "127.0.0.1")]
    assert ours == plain == expected


@each_family
async def test_a_network_in_no_proxy_is_passed_by(
    server: FaultServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, home: ModuleType
) -> None:
    """A network in NO_PROXY is reached directly, although httpx takes it for one address."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    client = home.AsyncClient(transport=resilient_transport())
    assert await ways(proxy, client, [server.url, by_name(server)]) == ["", "GET"]


@each_family
@pytest.mark.parametrize(
    ("name", "no", "asked"),
    [
        ("HTTPS_PROXY", "", "CONNECT"),
        ("ALL_PROXY", "", "CONNECT"),
        ("HTTP_PROXY", "", ""),
        ("HTTPS_PROXY", "127.0.0.1", ""),
    ],
)
async def test_tls_goes_through_a_tunnel(
    *,
    secure_server: FaultServer,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    home: ModuleType,
    name: str,
    no: str,
    asked: str,
) -> None:
    """The certificates that the environment names are trusted, as by a plain client."""
    monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", no)
    plain = await ways(proxy, home.AsyncClient(), [secure_server.url])
    transport = resilient_transport()
    ours = await ways(proxy, home.AsyncClient(transport=transport), [secure_server.url])
    assert ours == plain == [asked]


@each_family
async def test_only_the_proxy_gets_its_credentials(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, home: ModuleType
) -> None:
    """They are in no repr; here the server acts as the proxy, to record what it receives."""
    monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2@127.0.0.1:{server.port}")
    transport = resilient_transport()
    for client in (home.AsyncClient(), home.AsyncClient(transport=transport)):
        async with client:
            assert (await client.get("http://example.test/path")).text == "ok"
    plain, ours = server.seen
    assert ours == plain
    assert ours.target == "http://example.test/path"
    assert ours.headers["proxy-authorization"] == "Basic bWU6aHVudGVyMg=="
    assert "hunter2" not in repr(transport)


@each_family
async def test_a_tunnel_that_is_refused_is_asked_for_again(
    secure_server: FaultServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, home: ModuleType
) -> None:
    """It is retried even for a POST, since nothing was sent."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    proxy.instead = answers(503)

    async def sleep(seconds: float) -> None:
        del seconds
        proxy.instead = None

    policy = RetryPolicy(non_idempotent="proven")
    transport = resilient_transport(retry=policy, sleep=sleep, listener=None)
    async with home.AsyncClient(transport=transport) as client:
        response = await client.post(secure_server.url, json={})
    assert response.extensions["walltrack.attempts"] == 2
    assert proxy.asked == ["CONNECT"] * 2
    assert len(secure_server.seen) == 1


async def test_a_client_looks_for_proxies_at_each_opening(
    server: FaultServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reopened client reads the environment again; an open one keeps its proxies."""
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
    async with BaseAPIClient(server.url) as client:
        await client.get("/by/proxy")
        monkeypatch.delenv("ALL_PROXY")
        await client.get("/by/proxy/too")
        await client.close()
        await client.get("/directly")
    assert proxy.asked == ["GET"]  # a connection, of which the proxy hears the first request
    assert [seen.target for seen in server.seen] == [  # a proxy is given the whole URL
        f"{server.url}/by/proxy",
        f"{server.url}/by/proxy/too",
        "/directly",
    ]


async def test_a_client_with_a_transport_asks_no_proxy(
    server: FaultServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with httpx, the environment's proxies do not apply to a given transport."""
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
    async with BaseAPIClient(server.url, transport=httpx.AsyncHTTPTransport()) as client:
        await client.get("/")
    assert proxy.asked == []


async def test_a_proxy_that_is_not_there_is_a_failure_like_any_other(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call fails with a connection error, and no text shows credentials."""
    monkeypatch.setenv("ALL_PROXY", "http://me:hunter2@127.0.0.1:1")
    async with BaseAPIClient(server.url, retry=ONCE, listener=None) as client:
        with pytest.raises(ExternalServiceError) as raised:
            await client.get("/")
        assert client.circuit_breaker.failure_count == 1
    assert isinstance(raised.value.__cause__, httpx.ConnectError)
    assert "hunter2" not in f"{raised.value} {raised.value!r} {raised.value.__cause__!r}"
