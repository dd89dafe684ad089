import ssl
from types import ModuleType
from typing import Any

import anyio
import h2.exceptions
import httpcore2
import httpx
import httpx2
import pytest

from tests.support import get
from tests.unit.http.fake_core import Core
from tests.unit.http.test_options import check
from walltrack import Delivery, TransportClosedError
from walltrack.http.network import NetworkClosedError
from walltrack.http.pool import Pool

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("home", [httpx, httpx2], ids=lambda home: home.__name__)


def pool(home: ModuleType = httpx, proxy: httpx.Proxy | None = None, **options: Any) -> Pool:  # noqa: ANN401 - of any type
    """A pool that is made with these options."""
    return Pool(check(**options), home, proxy, lambda _: None)


async def opened(pool: Pool) -> Any:  # noqa: ANN401 - a body
    """The body of a response that is not read yet."""
    pool.calls += 1
    response = await pool.core.handle_async_request(httpcore2.Request("GET", "http://api.test/"))
    return pool.body_of(get(), response)


@BOTH
def test_a_pool_is_made_with_what_was_configured(core: type[Core], home: Any) -> None:  # noqa: ANN401 - a module
    """It has the limits, the versions, and the TLS context of its family."""
    limits = home.Limits(max_connections=7, max_keepalive_connections=3, keepalive_expiry=9.0)
    made = pool(home, limits=limits, http2=True, retries=2, uds="/run/s")
    [fake] = core.made
    context = fake.options.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert fake.options == {
        "proxy": None,
        "max_connections": 7,
        "max_keepalive_connections": 3,
        "keepalive_expiry": 9.0,
        "http1": True,
        "http2": True,
        "retries": 2,
        "uds": "/run/s",
        "network_backend": made.network,
    }


@BOTH
@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://me:hunter2@p.test:3128", (b"http", b"p.test", 3128)),
        ("https://p.test", (b"https", b"p.test", None)),
        ("socks5://p.test", (b"socks5", b"p.test", None)),
    ],
)
def test_a_proxy_is_handed_on(
    core: type[Core], home: ModuleType, url: str, target: tuple[bytes, bytes, int | None]
) -> None:
    """It has its credentials and headers, and over TLS a context of its own."""
    pool(home, httpx.Proxy(url, headers={"x-token": "1"}))
    proxy = core.made[0].options["proxy"]
    assert (proxy.url.scheme, proxy.url.host, proxy.url.port) == target
    assert proxy.auth == ((b"me", b"hunter2") if "@" in url else None)
    assert (b"x-token", b"1") in [(name.lower(), value) for name, value in proxy.headers]
    assert (proxy.ssl_context is not None) is url.startswith("https")
    assert proxy.ssl_context is not core.made[0].options["ssl_context"]


def test_the_context_of_a_proxy_is_used(core: type[Core]) -> None:
    """It may trust the proxy's own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pool(httpx, httpx.Proxy("https://p.test", ssl_context=context))
    assert core.made[0].options["proxy"].ssl_context is context


@BOTH
def test_an_error_is_explained_to_its_family(core: type[Core], home: ModuleType) -> None:
    """An unknown exception is not explained."""
    del core
    made = pool(home)
    assert type(made.explain(get(), httpcore2.ReadTimeout("slow"))) is home.ReadTimeout
    assert made.explain(get(), RuntimeError("defect")) is None


@pytest.mark.parametrize(
    ("error", "http1_only", "http2"),
    [
        (httpcore2.LocalProtocolError(h2.exceptions.TooManyStreamsError("10 open")), True, True),
        (ValueError("semaphore released too many times"), False, True),
        (httpcore2.ReadError(), False, False),
        (NetworkClosedError(), False, True),
        (KeyboardInterrupt(), False, False),
    ],
)
def test_what_an_http2_connection_cannot_serve_on_after(
    core: type[Core],
    error: BaseException,
    http1_only: bool,  # noqa: FBT001 - a column
    http2: bool,  # noqa: FBT001 - a column
) -> None:
    """It is out of streams, or has a wrong count of them; others are closed when they fail."""
    del core
    assert pool().is_spoiled_by(error) is http1_only
    assert pool(http2=True).is_spoiled_by(error) is http2


@pytest.mark.parametrize(
    ("error", "delivery"),
    [
        (NetworkClosedError(), Delivery.NOT_SENT),
        (httpcore2.ConnectError(), Delivery.NOT_SENT),
        (httpcore2.ConnectTimeout(), Delivery.NOT_SENT),
        (httpcore2.PoolTimeout(), Delivery.NOT_SENT),
        (httpcore2.ProxyError(), Delivery.NOT_SENT),
        (httpcore2.ReadError(), Delivery.UNCERTAIN),
        (httpcore2.WriteError(), Delivery.UNCERTAIN),
        (httpcore2.LocalProtocolError(), Delivery.UNCERTAIN),
        (RuntimeError(), Delivery.UNCERTAIN),
    ],
)
async def test_once_it_is_closed_every_error_says_so(
    core: type[Core], error: Exception, delivery: Delivery
) -> None:
    """Only an error that proves that nothing was sent keeps this statement."""
    del core
    made = pool()
    await made.close()
    explained = made.explain(get(), error)
    assert isinstance(explained, TransportClosedError)
    assert explained.delivery is delivery
    assert explained.service == "api.test"


async def test_closing_closes_everything(core: type[Core]) -> None:
    """It closes the pool, its connects and its open bodies, and wakes what waits."""
    made = pool()
    bodies = [await opened(made), await opened(made)]
    await bodies[0].aclose()
    await made.close()
    assert core.made[0].closed == 1
    assert [body.closed for body in core.made[0].bodies] == [1, 1]
    assert made.closed
    assert made.network.closed
    assert made.calls == 0


async def test_a_pool_that_was_replaced_closes_when_it_is_idle(core: type[Core]) -> None:
    """Its calls in flight end first; it is replaced only once."""
    replaced: list[Pool] = []
    made = Pool(check(), httpx, None, replaced.append)
    bodies = [await opened(made), await opened(made)]
    made.calls += 1
    made.network.spoiled = True
    await made.call_ended()
    await bodies[0].aclose()
    assert replaced == [made]
    assert core.made[0].closed == 0
    await bodies[1].aclose()
    assert core.made[0].closed == 1
    assert replaced == [made]


async def test_a_pool_that_is_in_use_stays_open(core: type[Core]) -> None:
    """An idle pool stays open for the next call."""
    made = pool()
    await (await opened(made)).aclose()
    assert core.made[0].closed == 0
    assert made.calls == 0


async def test_closing_is_not_cancelled(core: type[Core]) -> None:
    """A client is often closed because of a cancellation."""
    made = pool()
    body = await opened(made)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await made.close()
    assert core.made[0].closed == 1
    assert core.made[0].bodies[0].closed == 1
    assert body is not None
