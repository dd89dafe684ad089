import importlib.util
import subprocess
import sys
from types import ModuleType

import anyio
import httpcore
import httpcore2
import httpx
import httpx2
import pytest

from walltrack import RetryTransport
from walltrack.core import family
from walltrack.core.family import HTTPTransport, default_transport, each

BOTH = pytest.mark.parametrize("home", [httpx, httpx2], ids=lambda home: home.__name__)


def request(home: ModuleType, kind: type | None = None) -> httpx.Request:
    """A request of that family, to where nobody listens."""
    made: httpx.Request = (kind or home.Request)("GET", "http://127.0.0.1:1/")
    return made


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own."""
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own script


def test_both_families_are_known() -> None:
    """Where httpx2 is installed it stands beside httpx, which comes first."""
    assert family.FAMILIES[:1] == (httpx,)
    assert family.FAMILIES[1:] == (httpx2,)
    assert family.LOGGERS == ("httpx", "httpx2")


def test_each_name_stands_for_its_class_in_every_family() -> None:
    """Family by family, in the order of the names: for `isinstance` and `except`."""
    assert each("ReadError", "URL") == (httpx.ReadError, httpx.URL, httpx2.ReadError, httpx2.URL)


def test_a_name_that_a_family_does_not_have_is_refused() -> None:
    """A name with a typing error does not silently stand for nothing."""
    with pytest.raises(AttributeError, match="ReedError"):
        each("ReedError")


@BOTH
@pytest.mark.parametrize(
    "name", ["AsyncBaseTransport", "AsyncByteStream", "TimeoutException", "TransportError"]
)
def test_what_is_built_on_a_family_s_class_belongs_to_it(home: ModuleType, name: str) -> None:
    """The classes to derive from are subclasses of both families' classes."""
    assert issubclass(getattr(family, name), getattr(home, name))
    assert getattr(family, name).__name__ == name


@BOTH
def test_the_families_have_their_own_cores(home: ModuleType) -> None:
    """The exceptions of the package that sends for a family are recognized by its name."""
    core = {httpx: httpcore, httpx2: httpcore2}[home]
    assert core.__name__ in family.CORES


@pytest.mark.anyio
@BOTH
async def test_a_request_is_sent_by_its_own_family(home: ModuleType) -> None:
    """What comes of it, an exception here, is of that family too."""
    async with HTTPTransport() as transport:
        with pytest.raises(home.ConnectError):
            await transport.handle_async_request(request(home))


@pytest.mark.anyio
async def test_each_family_has_one_pool_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened by the first request, and serves classes that were derived as well."""
    opened = Opened(monkeypatch)

    class Own(httpx.Request):
        """Somebody's own class of requests, in the same module as the next."""

    class Own2(httpx2.Request):
        """Another one, of the other family."""

    async with HTTPTransport() as transport:
        assert opened == []
        for kind in (Own, httpx.Request, Own, Own2, httpx2.Request, Own2):
            home = httpx if issubclass(kind, httpx.Request) else httpx2
            response = await transport.handle_async_request(request(home, kind))
            assert isinstance(response, home.Response)
        assert [pool.home for pool in opened] == [httpx, httpx2]


@pytest.mark.anyio
async def test_a_request_of_neither_family_is_refused() -> None:
    """With a text that says what would be right."""
    stranger: httpx.Request = object()  # type: ignore[assignment]  # wrong on purpose
    with pytest.raises(TypeError, match="request must be a Request of httpx or httpx2"):
        await HTTPTransport().handle_async_request(stranger)


class Pool:
    """Stands for an `AsyncHTTPTransport`: answers as its family does, and notes its closing."""

    def __init__(self, home: ModuleType, options: dict[str, object]) -> None:
        self.home = home
        self.options = options
        self.closed = 0
        self.stuck = False

    async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
        await anyio.lowlevel.checkpoint()
        response: httpx.Response = self.home.Response(200)
        return response

    async def aclose(self) -> None:
        self.closed += 1
        if self.stuck:
            raise httpx.CloseError("stuck")


class Opened(list[Pool]):
    """The pools that are opened while the test runs, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        for home in (httpx, httpx2):
            monkeypatch.setattr(home, "AsyncHTTPTransport", self.opening(home))

    def opening(self, home: ModuleType) -> object:
        """What opens a pool of that family."""

        def open_one(**options: object) -> Pool:
            self.append(Pool(home, options))
            return self[-1]

        return open_one


@pytest.mark.anyio
async def test_closing_closes_every_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when one of them fails to close; the next request opens anew."""
    opened = Opened(monkeypatch)
    transport = HTTPTransport()
    for home in (httpx, httpx2):
        await transport.handle_async_request(request(home))
    opened[1].stuck = True  # whichever it is: the last one opened is the first one closed

    with pytest.raises(httpx.CloseError):
        await transport.aclose()
    await transport.aclose()

    assert [pool.closed for pool in opened] == [1, 1]
    await transport.handle_async_request(request(httpx2))
    assert [pool.home for pool in opened] == [httpx, httpx2, httpx2]


@pytest.mark.anyio
async def test_leaving_the_context_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client opens and closes its transport as a context."""
    opened = Opened(monkeypatch)
    async with HTTPTransport() as transport:
        await transport.handle_async_request(request(httpx2))
        assert opened[0].closed == 0
    assert opened[0].closed == 1


@pytest.mark.anyio
async def test_options_are_those_of_every_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are handed on as they are given."""
    opened = Opened(monkeypatch)
    transport = HTTPTransport(proxy="http://proxy.test", http2=True)
    for home in (httpx, httpx2):
        await transport.handle_async_request(request(home))
    assert [pool.options for pool in opened] == [{"proxy": "http://proxy.test", "http2": True}] * 2


def test_what_sends_by_default_serves_both() -> None:
    """And is shown as what it stands for."""
    transport = default_transport()
    assert isinstance(transport, HTTPTransport)
    assert repr(transport) == "AsyncHTTPTransport()"


def test_without_httpx2_there_is_one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing stands between a request and httpx's own transport."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    spec = importlib.util.spec_from_file_location(family.__name__, family.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)

    assert alone.each("Request") == (httpx.Request,)
    assert type(alone.default_transport()) is httpx.AsyncHTTPTransport


ONE_CALL = """
import asyncio
import httpx
import walltrack
from walltrack import CircuitBreakerTransport, RetryTransport
from walltrack.core import family
from walltrack.http.wrapper import WrappingTransport

async def main():
    answers = iter([503, 200])
    mock = httpx.MockTransport(lambda request: httpx.Response(next(answers), text="well"))
    async def sleep(seconds):
        pass
    transport = RetryTransport(CircuitBreakerTransport(mock), listener=None, sleep=sleep)
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get("https://api.test/")
        assert response.extensions["walltrack.attempts"] == 2
        assert response.text == "well"
    default = family.default_transport(http2=False)
    assert type(default) is httpx.AsyncHTTPTransport
    await default.aclose()

walltrack.redact_httpx_logs()
assert issubclass(walltrack.CircuitBreakerOpenError, httpx.TransportError)
asyncio.run(main())
print(*(f.__name__ for f in family.FAMILIES))
"""


def test_without_httpx2_everything_is_there() -> None:
    """Httpx2 is an extra: a program that cannot import it misses nothing."""
    ran = run("import sys\nsys.modules['httpx2'] = None\n" + ONE_CALL)
    assert ran.stderr == ""
    assert ran.stdout == "httpx\n"


def test_where_httpx2_stands_in_for_httpx_there_is_one_family() -> None:
    """Httpx2 can be made to answer to both names; a class cannot be derived twice from one."""
    ran = run("import httpx2\nhttpx2.alias_httpx()\n" + ONE_CALL)
    assert ran.stderr == ""
    assert ran.stdout == "httpx2\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (httpx.HTTPTransport(), "the synchronous HTTPTransport"),
        (httpx.AsyncClient(), "the client AsyncClient: give this transport to the client"),
        (httpx.AsyncHTTPTransport, "the class AsyncHTTPTransport: give an instance of it"),
        ("https://user:swordfish@api.test", "a str"),
    ],
)
def test_what_is_no_transport_is_refused_where_it_is_given(wrong: object, said: str) -> None:
    """The message says what was given and what is wanted, and shows no secret."""
    with pytest.raises(TypeError, match=r"asynchronous httpx transport, such as .*, got ") as info:
        RetryTransport(wrong)  # type: ignore[arg-type]
    assert said in str(info.value)
    assert "swordfish" not in str(info.value)
