import importlib.util
import subprocess
import sys
from abc import ABC
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpcore
import httpcore2
import httpx
import httpx2
import pytest

from walltrack import (
    CircuitBreakerTransport,
    HTTPTransport,
    RetryTransport,
    resilient_transport,
)
from walltrack.core import family
from walltrack.core.family import each, home_of
from walltrack.testing import ScriptedTransport

BOTH = pytest.mark.parametrize("home", [httpx, httpx2], ids=lambda home: home.__name__)


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new Python process."""
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own script


def test_both_families_are_known() -> None:
    """Once httpx2 is imported it is listed after httpx."""
    assert [httpx, httpx2] == family.FAMILIES
    assert family.LOGGERS == ("httpx", "httpx2")


@BOTH
@pytest.mark.parametrize("name", ["ReadError", "URL", "Request", "AsyncByteStream"])
def test_each_name_stands_for_its_class_in_every_family(home: ModuleType, name: str) -> None:
    """This holds for `isinstance` and `issubclass`, and for derived classes."""
    kind = getattr(home, name)
    derived = type("Derived", (kind,), {})
    made = kind.__new__(kind)
    for names in ((name,), (name, "Response")):
        assert isinstance(made, each(*names))
        assert issubclass(kind, each(*names))
        assert issubclass(derived, each(*names))
    assert not isinstance(made, each("Response", "Cookies"))
    assert not issubclass(kind, each("Response"))


def test_the_classes_of_httpx_come_first() -> None:
    """One by one, in the order of the names; one class represents all those of httpx2."""
    *first, last = each("ReadError", "WriteError")
    assert first == [httpx.ReadError, httpx.WriteError]
    assert repr(last) == "<class 'walltrack.core.family.ReadError, WriteError of httpx2'>"
    assert issubclass(last, last)
    assert issubclass(last, Exception)  # usable where an exception class is expected


def test_a_name_that_a_family_does_not_have_is_refused() -> None:
    """A misspelt name raises an error, and is not ignored."""
    with pytest.raises(AttributeError, match="ReedError"):
        each("ReedError")


@BOTH
@pytest.mark.parametrize(
    "name", ["AsyncByteStream", "PoolTimeout", "TimeoutException", "TransportError"]
)
def test_what_is_built_on_a_family_s_class_belongs_to_it(home: ModuleType, name: str) -> None:
    """Our base classes are subclasses of both families' classes."""
    assert issubclass(getattr(family, name), getattr(home, name))
    assert getattr(family, name).__name__ == name


@BOTH
def test_the_families_have_their_own_cores(home: ModuleType) -> None:
    """Exceptions of each family's core package are recognized by the package's name."""
    core = {httpx: httpcore, httpx2: httpcore2}[home]
    assert core.__name__ in family.CORES


@BOTH
def test_a_request_tells_its_family(home: ModuleType) -> None:
    """This includes an instance of a derived class."""
    derived = type("Derived", (home.Request,), {})
    assert home_of(home.Request("GET", "https://api.test")) is home
    assert home_of(derived("GET", "https://api.test")) is home


def test_a_request_of_neither_family_is_refused() -> None:
    """The error text says what is accepted."""
    stranger: httpx.Request = object()  # type: ignore[assignment]  # wrong on purpose
    with pytest.raises(TypeError, match="request must be a Request of httpx or httpx2"):
        home_of(stranger)


class Late:
    """A copy of the module in a program that has not, or not completely, imported httpx2."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.imported(None)
        spec = importlib.util.spec_from_file_location(family.__name__, family.__file__)
        assert spec is not None
        assert spec.loader is not None
        self.family: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.family)

    def imported(self, module: object) -> None:
        """Have the program import something named httpx2."""
        self._monkeypatch.setitem(sys.modules, "httpx2", module)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    """A program that imports httpx2 later."""
    return Late(monkeypatch)


def test_httpx2_is_noticed_when_it_is_there(late: Late) -> None:
    """Our classes and instances made before its import belong to it as well."""
    alone = late.family

    ours = type("Ours", (alone.TransportError,), {})
    made = ours("why")
    assert not alone.notice()
    assert [httpx] == alone.FAMILIES
    assert not isinstance(httpx2.URL("http://api.test"), alone.URLS)
    late.imported(httpx2)
    assert alone.notice()
    assert [httpx, httpx2] == alone.FAMILIES
    assert isinstance(made, httpx2.TransportError)
    assert {httpx.ByteStream, httpx2.ByteStream} == alone.BYTES_IN_MEMORY
    with pytest.raises(httpx2.TransportError):
        raise made


def test_httpx2_is_noticed_once(late: Late) -> None:
    """However often it is looked for."""
    late.imported(httpx2)
    assert late.family.notice()
    assert late.family.notice()
    assert late.family.TransportError.__bases__ == (httpx.TransportError, httpx2.TransportError)


@pytest.mark.parametrize("missing", ["TransportError", "ByteStream"])
def test_httpx2_is_not_noticed_while_it_is_being_imported(late: Late, missing: str) -> None:
    """Another thread may be importing it; nothing is set up partly."""
    partial = ModuleType("httpx2")
    vars(partial).update({name: getattr(httpx2, name) for name in httpx2.__all__})
    delattr(partial, missing)
    late.imported(partial)
    assert not late.family.notice()
    assert late.family.TimeoutException.__bases__ == (httpx.TimeoutException,)
    late.imported(httpx2)
    assert late.family.notice()


@pytest.mark.parametrize(
    "meet",
    [
        lambda late: late.home_of(httpx2.Request("GET", "http://api.test")),
        lambda late: isinstance(httpx2.URL("http://api.test"), late.URLS),
        lambda late: late.AsyncBaseTransport(),
    ],
    ids=["a request", "a URL", "a transport of ours"],
)
def test_httpx2_is_noticed_by_what_is_met(late: Late, meet: Callable[[Any], object]) -> None:
    """By its first object, or the first transport made after its import."""
    late.imported(httpx2)
    assert [httpx] == late.family.FAMILIES
    meet(late.family)
    assert [httpx, httpx2] == late.family.FAMILIES


# Transports


class Of1(httpx.AsyncBaseTransport):
    """A transport of httpx."""


class Of2(httpx2.AsyncBaseTransport):
    """A transport of httpx2."""


class Of12(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):  # type: ignore[misc]  # as they are
    """A transport of both."""


class Of21(httpx2.AsyncBaseTransport, httpx.AsyncBaseTransport):  # type: ignore[misc]  # as they are
    """A transport of both, in the other order."""


class OfNone:
    """A transport that derives from nothing."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


def families_of(transport: object) -> list[str]:
    """The families in the MRO of a transport, in order."""
    bases = {httpx.AsyncBaseTransport: "httpx", httpx2.AsyncBaseTransport: "httpx2"}
    return [bases[kind] for kind in type(transport).__mro__ if kind in bases]


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (Of1(), ["httpx"]),
        (Of2(), ["httpx2", "httpx"]),
        (Of12(), ["httpx", "httpx2"]),
        (Of21(), ["httpx2", "httpx"]),
        (OfNone(), ["httpx", "httpx2"]),
        (httpx.AsyncHTTPTransport(), ["httpx"]),
        (httpx2.AsyncHTTPTransport(), ["httpx2", "httpx"]),
        (HTTPTransport(), ["httpx", "httpx2"]),
        (None, ["httpx", "httpx2"]),
    ],
)
def test_a_layer_begins_with_the_family_of_its_inner_transport(
    inner: Any,  # noqa: ANN401 - of any class
    expected: list[str],
) -> None:
    """Through any number of layers; an SDK chooses its client by it."""
    layer = CircuitBreakerTransport(inner)
    assert families_of(layer) == expected
    assert families_of(RetryTransport(layer)) == expected
    assert families_of(resilient_transport(inner)) == expected


def test_a_layer_keeps_its_name_and_its_class() -> None:
    """They are the same in each family."""
    for inner in (Of1(), Of2(), Of12()):
        transport: Any = inner
        layer = RetryTransport(transport)
        assert isinstance(layer, RetryTransport)
        assert type(layer).__name__ == type(layer).__qualname__ == "RetryTransport"
        assert type(layer).__module__ == RetryTransport.__module__
        assert type(layer).__doc__ == RetryTransport.__doc__
    assert type(RetryTransport(Of1())) is RetryTransport
    both: Any = Of12()
    assert type(RetryTransport(both)) is type(RetryTransport(both))


def test_a_class_that_is_derived_from_a_layer_works_alike() -> None:
    """This includes a class with its own metaclass, and one that names its families itself."""

    class Derived(RetryTransport, ABC):
        """A user's own layer."""

    class Both(RetryTransport, httpx2.AsyncBaseTransport):  # type: ignore[misc]  # as it is
        """A layer that always belongs to both families."""

    inner: Any = Of2()
    assert families_of(Derived(inner)) == ["httpx2", "httpx"]
    assert isinstance(Derived(inner), Derived)
    assert type(Both(inner)) is Both


def test_what_sends_or_mocks_serves_both() -> None:
    """These transports belong to every imported family."""
    for transport in (HTTPTransport(), ScriptedTransport([200])):
        assert families_of(transport) == ["httpx", "httpx2"]


# Tests in a new process


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


def test_httpx2_is_not_imported_for_nothing() -> None:
    """Another package may have installed it; a client of httpx does not wait for its import."""
    ran = run(ONE_CALL + "import sys; assert 'httpx2' not in sys.modules\n")
    assert ran.stderr == ""
    assert ran.stdout == "refused\nhttpx\n"


LATE_CALL = """
import asyncio
from walltrack import CircuitBreakerOpenError, CircuitBreakerTransport, HTTPTransport
from walltrack import RetryTransport, TimeLimitExceededError

async def sleep(seconds):
    pass

breaker = CircuitBreakerTransport(HTTPTransport(), failure_threshold=2, listener=None)
transport = RetryTransport(breaker, listener=None, sleep=sleep)

import httpx2

async def main():
    async with httpx2.AsyncClient(transport=transport) as client:
        for expected in EXPECTED:
            try:
                await client.get("http://127.0.0.1:1/")
            except httpx2.TransportError as error:
                assert type(error).__name__ == expected, error
                assert isinstance(error.request, httpx2.Request)

asyncio.run(main())
assert issubclass(CircuitBreakerOpenError, httpx2.TransportError)
assert issubclass(TimeLimitExceededError, httpx2.TimeoutException)
"""


@pytest.mark.parametrize("opened", [False, True])
def test_httpx2_may_be_imported_after_the_transport_was_made(opened: bool) -> None:  # noqa: FBT001 - a case
    """Exceptions are caught by its users as if it had been imported earlier."""
    expected = ["CircuitBreakerOpenError" if opened else "ConnectError", "CircuitBreakerOpenError"]
    open_first = "breaker.breaker_for('http://127.0.0.1:1/').force_open()\n" if opened else ""
    script = LATE_CALL.replace("import httpx2\n", open_first + "import httpx2\n", 1)
    ran = run(f"EXPECTED = {expected}\n{script}")
    assert ran.stderr == ""


def test_without_httpx2_everything_is_there() -> None:
    """Httpx2 is optional: a program that cannot import it has all functions."""
    ran = run("import sys\nsys.modules['httpx2'] = None\n" + ONE_CALL)
    assert ran.stderr == ""
    assert ran.stdout == "refused\nhttpx\n"


def test_where_httpx2_stands_in_for_httpx_there_is_one_family() -> None:
    """Httpx2 can take both names; a class cannot have the same base class twice."""
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
    """The message says what was given and what is expected, and shows no secret."""
    with pytest.raises(TypeError, match=r"asynchronous httpx transport, such as .*, got ") as info:
        RetryTransport(wrong)  # type: ignore[arg-type]
    assert said in str(info.value)
    assert "swordfish" not in str(info.value)


@BOTH
@pytest.mark.parametrize("made", [RetryTransport, HTTPTransport, lambda: ScriptedTransport([200])])
def test_a_synchronous_client_is_told_what_to_put_around(
    home: Any,  # noqa: ANN401 - either family
    made: Callable[[], httpx.AsyncBaseTransport],
) -> None:
    """Whether it is opened or used directly; `SyncTransport` makes both possible."""
    transport = made()
    name = type(transport).__name__
    advice = (
        rf"{name} is asynchronous: .*httpx\.Client\(transport=SyncTransport\({name}\(\.\.\.\)\)"
    )
    with pytest.raises(TypeError, match=advice):
        home.Client(transport=transport).get("https://api.test/")
    with pytest.raises(TypeError, match=advice), home.Client(transport=transport):
        pass


@BOTH
def test_synchronous_classes_belong_to_each_family(home: Any) -> None:  # noqa: ANN401 - either family
    """Streams belong to both, transports to the families of the asynchronous transport inside."""
    assert issubclass(family.SyncByteStream, home.SyncByteStream)
    mock = home.MockTransport(lambda _: home.Response(200))
    for inner in (mock, RetryTransport(mock), None):
        served: Any = family.BaseTransport
        assert isinstance(served(inner), home.BaseTransport)
        assert not isinstance(served(inner), home.AsyncBaseTransport)
