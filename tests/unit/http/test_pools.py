import errno
import gc
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from tests.support import get
from tests.unit.http.fake_core import Core
from tests.unit.http.test_options import check
from walltrack.core.causes import is_out_of_resources
from walltrack.http.pool import Pool
from walltrack.http.pools import Pools
from walltrack.http.proxy_rules import ProxyRules

BOTH = pytest.mark.parametrize("home", [httpx, httpx2], ids=lambda home: home.__name__)
PROXY = "http://proxy.test:3128"
OTHER = "http://other.test:3128"

pytestmark = pytest.mark.usefixtures("core")


def pools(rules: dict[str, str] | None = None, **options: Any) -> Pools:  # noqa: ANN401 - of any type
    """Pools that are made with these options and this environment."""
    return Pools(check(**options), None if rules is None else ProxyRules(rules))


def proxy_of(pool: Pool) -> str | None:
    """The proxy of a pool."""
    made: Any = pool.core
    assert isinstance(made, Core)
    proxy = made.options["proxy"]
    return None if proxy is None else bytes(proxy.url).decode().rstrip("/")


@BOTH
def test_a_family_has_a_pool_which_its_first_request_opens(home: ModuleType) -> None:
    """This includes requests of a derived class."""
    made = pools()
    assert list(made) == []
    derived = type("Derived", (home.Request,), {})
    pool = made.pool_for(home, home.Request("GET", "http://api.test"))
    assert pool.home is home
    assert made.pool_for(home, derived("GET", "https://other.test")) is pool
    assert list(made) == [pool]


@BOTH
def test_without_a_file_left_a_request_fails_to_connect(
    home: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request loads the certificates and was not sent; the next one may succeed."""
    monkeypatch.delenv("SSL_CERT_FILE")  # it would be loaded already
    made, request = pools(), home.Request("GET", "http://api.test")

    def exhausted(**_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(home, "create_ssl_context", exhausted)
        with pytest.raises(home.ConnectError, match="Too many open files") as caught:
            made.pool_for(home, request)
    assert caught.value.request is request
    assert is_out_of_resources(caught.value)
    assert made.pool_for(home, request).home is home


def test_a_certificate_file_that_is_not_there_is_no_failure_to_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That would be retried; the options refuse a file that is missing from the beginning."""
    monkeypatch.delenv("SSL_CERT_FILE")
    made = pools()
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(FileNotFoundError, match="SSL_CERT_FILE"):
        made.pool_for(httpx, get())


def test_families_do_not_share_a_pool() -> None:
    """Each has its own trusted certificates, and its own exceptions."""
    made = pools()
    request: Any = httpx2.Request("GET", "http://api.test")
    assert made.pool_for(httpx, get()) is not made.pool_for(httpx2, request)


@BOTH
def test_each_request_takes_its_proxy(home: ModuleType) -> None:
    """The rules for its URL choose it; schemes with the same proxy share its connections."""
    made = pools({"http": PROXY, "https": PROXY, "all": OTHER, "no": "home.test"})

    def way(url: str) -> Pool:
        return made.pool_for(home, home.Request("GET", url))

    assert proxy_of(way("http://a.test")) == PROXY
    assert way("https://a.test") is way("http://b.test")
    assert proxy_of(way("http://home.test")) is None
    assert proxy_of(way("ws://a.test")) == OTHER
    assert len(list(made)) == 3


def test_a_proxy_that_was_given_takes_all() -> None:
    """The environment is not read in this case."""
    made = pools(proxy=PROXY)
    for url in ("http://a.test", "https://home.test"):
        assert proxy_of(made.pool_for(httpx, get(url))) == PROXY
    assert len(list(made)) == 1


def test_an_environment_without_proxies_costs_nothing() -> None:
    """No rule is checked."""
    made = pools({"no": "home.test"})
    assert proxy_of(made.pool_for(httpx, get("http://a.test"))) is None


async def spoil(pool: Pool) -> None:
    """Have a pool marked as spoiled."""
    pool.network.spoiled = True
    pool.calls += 2  # one of which goes on
    await pool.call_ended()


@pytest.mark.anyio
async def test_a_pool_is_replaced_when_it_is_of_no_use() -> None:
    """New requests use a new pool. The old one is kept while it has calls in flight."""
    made = pools({"all": PROXY, "no": "home.test"})
    old, other = (
        made.pool_for(httpx, get("http://a.test")),
        made.pool_for(httpx, get("http://home.test")),
    )
    await spoil(old)
    new = made.pool_for(httpx, get("http://a.test"))
    assert new is not old
    assert proxy_of(new) == PROXY
    assert made.pool_for(httpx, get("http://home.test")) is other
    assert set(made) == {old, new, other}
    await old.call_ended()
    assert made.pool_for(httpx, get("http://a.test")) is new
    del old
    gc.collect()
    assert set(made) == {new, other}


@pytest.mark.anyio
async def test_closing_closes_all(core: type[Core]) -> None:
    """All pools, replaced ones included, are marked as closed before any of them is closed."""
    made = pools({"all": PROXY, "no": "home.test"})
    old, other = (
        made.pool_for(httpx, get("http://a.test")),
        made.pool_for(httpx, get("http://home.test")),
    )
    await spoil(old)
    new = made.pool_for(httpx, get("http://a.test"))
    ended: list[bool] = []

    class Closing(Core):
        async def aclose(self) -> None:
            ended.extend(pool.closed for pool in (old, other, new))
            await super().aclose()

    for fake in core.made:
        fake.__class__ = Closing
    await made.close()
    assert ended == [True] * 9
    assert [fake.closed for fake in core.made] == [1, 1, 1]
    assert made.closed


@pytest.mark.anyio
@BOTH
async def test_the_own_transport_of_a_family_is_kept(
    home: Any,  # noqa: ANN401 - a module
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is one for each proxy, and it is closed with the pools."""
    closed: list[str] = []

    class Own(httpx.MockTransport):
        def __init__(self, **options: Any) -> None:  # noqa: ANN401 - whatever it is given
            super().__init__(lambda _: httpx.Response(200))
            self.proxy = "" if options["proxy"] is None else str(options["proxy"].url)

        async def aclose(self) -> None:
            closed.append(self.proxy)
            raise OSError("cannot close")

    monkeypatch.setattr(home, "AsyncHTTPTransport", Own)
    made = pools({"http": PROXY, "no": "home.test"})

    def own(url: str) -> Any:  # noqa: ANN401 - a transport
        return made.own_transport_for(home, home.Request("GET", url))

    assert own("http://a.test").proxy == PROXY
    assert own("http://b.test") is own("http://a.test")
    assert own("http://home.test").proxy == ""
    await made.close()
    assert closed == [PROXY, ""]
