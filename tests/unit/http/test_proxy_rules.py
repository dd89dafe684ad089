import asyncio
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walltrack.http.proxy_rules import ProxyRules

PROXY = "http://proxy.test:3128"
OTHER = "http://other.test:3128"

# Entries that httpx 0.28 and httpx2 read in the same way.
COMMON = [
    "example.com",
    ".example.com",
    "EXAMPLE.com",
    "example.com:8080",
    ".example.com:8080",
    "www.example.com",
    "com",
    "localhost",
    "LocalHost",
    "localhost:8080",
    "127.0.0.1",
    "127.0.0.1:8080",
    "10.1.2.3",
    "::1",
    ":8080",
    "http://example.com",
    "https://example.com",
    "all://example.com",
    "http://*.example.com",
    "http://*example.com",
    "all://*:8080",
    "http://example.com:80",
    "https://example.com:8443",
    "http://",
    "https://",
    "all://",
    "http://*",
    "https://*",
    "all://*",
    ".",
    ".:8080",
    "**example.com",
    "",
    " example.com ",
]
# As only httpx2 reads them: httpx takes them for names that no host has, or refuses to start.
BEYOND = [
    "10.0.0.0/8",
    "127.0.0.0/8",
    "10.1.0.0/16",
    "http://10.0.0.0/8",
    "::/64",
    "fd00::/8",
    "[::1]",
    "[::1]:8080",
    "*.example.com",
    "not a host:x",
    "http://[",
]
# As only httpx reads them: httpx2 passes them over.
BEFORE = [
    "10.1.2.3/99",
    "10.1.2.3/x",
    "10.0.0.0/255.0.0.0",
    "10.1.2.3/0.255.255.255",
    "example.com/path",
]
HOSTS = [
    "example.com",
    "www.example.com",
    "a.www.example.com",
    "myexample.com",
    "example.com.test",
    "localhost",
    "sub.localhost",
    "127.0.0.1",
    "10.0.0.0",
    "10.1.2.3",
    "110.1.2.3",
    "[::1]",
    "[fd00::7]",
]
URLS = [
    f"{scheme}://{host}{port}/path?query"
    for host in HOSTS
    for scheme, port in [("http", ""), ("https", ""), ("http", ":8080"), ("https", ":8443")]
]
PROXIES = {"http": PROXY, "https": OTHER, "all": "http://all.test:3128"}


class Sent(Exception):  # noqa: N818 - no error
    """The route by which a plain client would have sent a request."""

    def __init__(self, proxy: str | None) -> None:
        self.proxy = proxy


def plain_way(home: Any, environment: dict[str, str]) -> list[str | None]:  # noqa: ANN401 - a module
    """The proxy that an `AsyncClient` of the family uses for each of the URLs."""

    def init(self: Any, proxy: Any = None, **options: Any) -> None:  # noqa: ANN401 - of a transport
        del options
        self.proxy = None if proxy is None else str(proxy.url)

    async def send(self: Any, request: object) -> None:  # noqa: ANN401 - of a transport
        del request
        raise Sent(self.proxy)

    async def way(client: Any, url: str) -> str | None:  # noqa: ANN401 - of either family
        with pytest.raises(Sent) as sent:
            await client.get(url)
        return sent.value.proxy

    async def ways() -> list[str | None]:
        client = home.AsyncClient()
        return [await way(client, url) for url in URLS]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(home.AsyncHTTPTransport, "__init__", init)
        patch.setattr(home.AsyncHTTPTransport, "handle_async_request", send)
        for name in ("http", "https", "all", "no"):
            patch.delenv(f"{name}_proxy", raising=False)
            patch.delenv(f"{name}_proxy".upper(), raising=False)
            if name in environment:
                patch.setenv(f"{name}_proxy".upper(), environment[name])
        return asyncio.run(ways())


def our_way(environment: dict[str, str]) -> list[str | None]:
    """The proxy that the rules give for each of the URLs."""
    rules = ProxyRules(environment)
    return [rules.proxy_for(httpx.URL(url)) for url in URLS]


@pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("names", [["all"], list(PROXIES)])
@pytest.mark.parametrize("no", COMMON)
def test_a_request_goes_the_way_of_a_plain_client(
    home: ModuleType, names: list[str], no: str
) -> None:
    """It uses the same proxy or none, whatever NO_PROXY contains."""
    environment = {**{name: PROXIES[name] for name in names}, "no": no}
    assert our_way(environment) == plain_way(home, environment)


@pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])
@settings(max_examples=50)
@given(
    names=st.lists(st.sampled_from(sorted(PROXIES)), unique=True),
    entries=st.lists(st.sampled_from([*COMMON, "*", " "]), max_size=4),
)
def test_entries_together_lead_the_way_of_a_plain_client(
    home: ModuleType, names: list[str], entries: list[str]
) -> None:
    """Whatever their order is; a single star turns all proxies off."""
    environment = {**{name: PROXIES[name] for name in names}, "no": ",".join(entries)}
    assert our_way(environment) == plain_way(home, environment)


@pytest.mark.parametrize(
    ("home", "no"), [(httpx2, no) for no in BEYOND] + [(httpx, no) for no in BEFORE]
)
def test_what_one_family_understands_besides_is_understood(home: ModuleType, no: str) -> None:
    """Networks, addresses in brackets and stars as in httpx2; some special cases as in httpx."""
    environment = {"all": PROXY, "no": no}
    assert our_way(environment) == plain_way(home, environment)


@pytest.mark.parametrize("netmask", ["255.0.0.0", "0.255.255.255"])
def test_a_netmask_is_no_network(netmask: str) -> None:
    """No client understands one (curl, requests, Go, both families): the address is a host."""
    rules = ProxyRules({"all": PROXY, "no": f"10.0.0.0/{netmask}"})
    assert rules.proxy_for(httpx.URL("http://10.0.0.0")) is None
    assert rules.proxy_for(httpx.URL("http://10.1.2.3")) == PROXY


def test_an_exemption_is_read_in_any_script() -> None:
    """A name matches in its own script and in its DNS form."""
    rules = ProxyRules({"all": PROXY, "no": "münchen.test"})
    assert rules.proxy_for(httpx.URL("https://www.münchen.test")) is None
    assert rules.proxy_for(httpx.URL("https://www.xn--mnchen-3ya.test")) is None
    assert rules.proxy_for(httpx.URL("https://munchen.test")) == PROXY


def test_a_request_of_either_family_is_understood() -> None:
    """Their URLs are of different classes."""
    rules = ProxyRules({"http": PROXY, "no": "home.test"})
    away: Any = httpx2.URL("http://away.test")
    home: Any = httpx2.URL("http://home.test")
    assert (rules.proxy_for(away), rules.proxy_for(home)) == (PROXY, None)


@pytest.mark.parametrize(
    "environment", [{}, {"no": "example.com"}, {"ftp": PROXY}, {"http": "", "all": ""}]
)
def test_there_may_be_no_proxy(environment: dict[str, str]) -> None:
    """There is none for any scheme that httpx supports."""
    rules = ProxyRules(environment)
    assert rules.proxies == {}
    assert rules.proxy_for(httpx.URL("http://example.com")) is None


def test_a_proxy_without_a_scheme_speaks_http() -> None:
    """Many environments give only a host and a port."""
    assert ProxyRules({"https": "proxy.test:3128"}).proxies == {"https": PROXY}


@pytest.mark.parametrize("kind", ["http", "https", "socks5", "socks5h", "HTTP"])
def test_every_kind_of_proxy_that_httpx_speaks_is_taken(kind: str) -> None:
    """In any letter case."""
    url = f"{kind}://proxy.test:1080"
    assert ProxyRules({"all": url}).proxies == {"all": url}


@pytest.mark.parametrize(
    "url",
    ["ftp://me:hunter2@proxy.test", "http://", "http://me:hunter2/x@proxy.test"],
)
def test_a_proxy_that_cannot_be_is_refused(url: str) -> None:
    """At once, and the message does not show a possible password."""
    with pytest.raises(ValueError, match="the environment's proxy for https://") as raised:
        ProxyRules({"http": PROXY, "https": url})
    assert "hunter2" not in str(raised.value)
    assert raised.value.__context__ is None


def test_a_proxy_is_shown_without_its_userinfo() -> None:
    """Everything else of its URL is shown."""
    rules = ProxyRules({"http": "http://me:hunter2@proxy.test:3128/?hunter2", "all": OTHER})
    assert repr(rules) == f"ProxyRules(http: {PROXY}, all: {OTHER})"
