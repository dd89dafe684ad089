import importlib.util
import subprocess
import sys
from types import ModuleType

import httpcore
import httpcore2
import httpx
import httpx2
import pytest

from walltrack import RetryTransport
from walltrack.core import family
from walltrack.core.family import each, home_of

BOTH = pytest.mark.parametrize("home", [httpx, httpx2], ids=lambda home: home.__name__)


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


@BOTH
def test_a_request_tells_its_family(home: ModuleType) -> None:
    """Also one of a class that somebody derived."""
    derived = type("Derived", (home.Request,), {})
    assert home_of(home.Request("GET", "https://api.test")) is home
    assert home_of(derived("GET", "https://api.test")) is home


def test_a_request_of_neither_family_is_refused() -> None:
    """With a text that says what would be right."""
    stranger: httpx.Request = object()  # type: ignore[assignment]  # wrong on purpose
    with pytest.raises(TypeError, match="request must be a Request of httpx or httpx2"):
        home_of(stranger)


def test_without_httpx2_there_is_one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it derives its classes from is httpx's alone."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    spec = importlib.util.spec_from_file_location(family.__name__, family.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)

    assert alone.each("Request") == (httpx.Request,)


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
    async with httpx.AsyncClient(transport=walltrack.HTTPTransport()) as client:
        try:
            await client.get("http://127.0.0.1:1/")
        except httpx.ConnectError:
            print("refused")

walltrack.redact_httpx_logs()
assert issubclass(walltrack.CircuitBreakerOpenError, httpx.TransportError)
asyncio.run(main())
print(*(f.__name__ for f in family.FAMILIES))
"""


def test_without_httpx2_everything_is_there() -> None:
    """Httpx2 is an extra: a program that cannot import it misses nothing."""
    ran = run("import sys\nsys.modules['httpx2'] = None\n" + ONE_CALL)
    assert ran.stderr == ""
    assert ran.stdout == "refused\nhttpx\n"


def test_where_httpx2_stands_in_for_httpx_there_is_one_family() -> None:
    """Httpx2 can be made to answer to both names; a class cannot be derived twice from one."""
    ran = run("import httpx2\nhttpx2.alias_httpx()\n" + ONE_CALL)
    assert ran.stderr == ""
    assert ran.stdout == "refused\nhttpx2\n"


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
