from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from tests.support import Scripted, get
from walltrack.core import family
from walltrack.http.environment_proxies import ProxiedTransport, transport_by_environment
from walltrack.http.proxy_rules import ProxyRules

HTTP = "http://me:hunter2@proxy.test:3128"
HTTPS = "http://other.test:3128"

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])


class Pool(Scripted):
    """Connections that were made with so and so many options."""

    made: list["Pool"]

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - whatever it is given
        super().__init__(200)
        self.options = options
        self.made.append(self)


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[Pool]:
    """The pools that are made in place of real ones, of either family."""
    made: list[Pool] = []
    monkeypatch.setattr(Pool, "made", made, raising=False)
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", Pool)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", Pool)
    return made


def proxied(**environment: str) -> ProxiedTransport:
    """A transport by the proxies of such an environment."""
    return ProxiedTransport(ProxyRules(environment))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"])
def test_a_proxy_in_the_environment_is_seen(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """In capital and in small letters."""
    monkeypatch.setenv(name, HTTPS)
    assert isinstance(transport_by_environment(), ProxiedTransport)


@pytest.mark.parametrize("name", ["FTP_PROXY", "NO_PROXY", "no_proxy"])
def test_without_a_proxy_it_is_the_plain_transport(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nothing stands in between that would cost a call anything."""
    monkeypatch.setenv(name, "something.test")
    assert type(transport_by_environment()) is type(family.default_transport())


def test_a_star_turns_proxies_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is then as if there was none."""
    monkeypatch.setenv("ALL_PROXY", HTTPS)
    monkeypatch.setenv("NO_PROXY", "some.test, *")
    assert type(transport_by_environment()) is type(family.default_transport())


def test_a_proxy_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the transport is made, not by the first request."""
    monkeypatch.setenv("HTTPS_PROXY", "gopher://proxy.test")
    with pytest.raises(ValueError, match="the environment's proxy for https://"):
        transport_by_environment()


def test_the_environment_is_read_when_the_transport_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by httpx; what becomes of it later changes nothing."""
    monkeypatch.setenv("ALL_PROXY", HTTPS)
    transport = transport_by_environment()
    before = repr(transport)
    monkeypatch.setenv("ALL_PROXY", HTTP)
    assert repr(transport) == before == f"ProxiedTransport(ProxyRules(all: {HTTPS}))"


@each_family
@pytest.mark.anyio
async def test_each_request_goes_its_way(pools: list[Pool], home: ModuleType) -> None:
    """By the proxy for its scheme, or by none, through a transport of its own family."""
    transport = proxied(http=HTTP, https=HTTPS, no="home.test")
    for url in ("http://a.test/", "https://a.test/", "http://home.test/", "https://home.test/"):
        await transport.handle_async_request(home.Request("GET", url))
    ways = {pool.options.get("proxy"): [str(r.url) for r in pool.requests] for pool in pools}
    assert ways == {
        HTTP: ["http://a.test/"],
        HTTPS: ["https://a.test/"],
        None: ["http://home.test/", "https://home.test/"],
    }


@pytest.mark.anyio
async def test_schemes_with_the_same_proxy_share_its_connections(pools: list[Pool]) -> None:
    """As they would share those of a client without a proxy."""
    transport = proxied(http=HTTP, https=HTTP)
    await transport.handle_async_request(get("http://a.test/"))
    await transport.handle_async_request(get("https://a.test/"))
    [pool] = [pool for pool in pools if pool.requests]
    assert len(pool.requests) == 2


@pytest.mark.anyio
async def test_where_httpx_is_alone_it_is_not_asked_for_the_family(
    pools: list[Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transports stand there themselves, with the same proxies."""
    monkeypatch.setattr(family, "FAMILIES", (httpx,))
    transport = proxied(http=HTTP, no="home.test")
    await transport.handle_async_request(get("http://a.test/"))
    await transport.handle_async_request(get("http://home.test/"))
    assert [(p.options.get("proxy"), len(p.requests)) for p in pools] == [(None, 1), (HTTP, 1)]


@pytest.mark.anyio
async def test_closing_closes_all(pools: list[Pool]) -> None:
    """Also when one of them fails to, and then says so."""

    async def fail() -> None:
        raise OSError("cannot close")

    async with proxied(http=HTTP, https=HTTPS, no="home.test") as transport:
        for url in ("http://a.test/", "https://a.test/", "http://home.test/"):
            await transport.handle_async_request(get(url))
    assert [pool.closed for pool in pools] == [1, 1, 1]

    for failing in range(3):
        pools.clear()
        transport = proxied(http=HTTP, https=HTTPS, no="home.test")
        for url in ("http://a.test/", "https://a.test/", "http://home.test/"):
            await transport.handle_async_request(get(url))
        pools[failing].aclose = fail  # type: ignore[method-assign]  # one that fails
        with pytest.raises(OSError, match="cannot close"):
            await transport.aclose()
        assert sum(pool.closed for pool in pools) == 2


def test_no_repr_shows_userinfo() -> None:
    """Only where the proxies are."""
    shown = repr(proxied(http=HTTP, all=HTTPS))
    assert shown == (
        "ProxiedTransport(ProxyRules(http: http://proxy.test:3128, all: http://other.test:3128))"
    )
