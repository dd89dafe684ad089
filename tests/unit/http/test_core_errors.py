import importlib.util
import ssl
import sys
from types import ModuleType

import h2.exceptions
import httpcore2
import httpx
import httpx2
import pytest
import socksio

from walltrack.http import core_errors
from walltrack.http.core_errors import is_out_of_streams, mapped

BOTH = pytest.mark.parametrize("home", [httpx, httpx2], ids=lambda home: home.__name__)
NAMES = [
    name
    for name in httpcore2.__all__
    if isinstance(getattr(httpcore2, name), type)
    and issubclass(getattr(httpcore2, name), Exception)
    and name != "ConnectionNotAvailable"  # httpcore2 handles it by itself
]


@BOTH
@pytest.mark.parametrize("name", NAMES)
def test_each_exception_has_its_like_in_each_family(home: ModuleType, name: str) -> None:
    """It has the same name and the same text."""
    made = mapped(getattr(httpcore2, name)("why"), home)
    assert type(made) is getattr(home, name)
    assert str(made) == "why"


@BOTH
def test_a_subclass_is_mapped_by_its_nearest_ancestor(home: ModuleType) -> None:
    """A subclass of ReadTimeout becomes a ReadTimeout, not only a TimeoutException."""
    special = type("Special", (httpcore2.ReadTimeout,), {})
    assert type(mapped(special(), home)) is home.ReadTimeout


@BOTH
@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (ssl.SSLError(1, "bad record mac"), "ReadError"),
        (h2.exceptions.FlowControlError("too much"), "RemoteProtocolError"),
        (socksio.ProtocolError("no reply"), "ProxyError"),
    ],
)
def test_what_httpcore2_lets_through_is_mapped_too(
    home: ModuleType, raw: Exception, name: str
) -> None:
    """`except httpx.TransportError` catches any failure that the peer causes."""
    assert type(mapped(raw, home)) is getattr(home, name)


@pytest.mark.parametrize("error", [ValueError("why"), RuntimeError(), AssertionError()])
def test_other_exceptions_stand_for_nothing(error: Exception) -> None:
    """A defect is not hidden behind a network error."""
    assert mapped(error, httpx) is None


def test_a_connection_without_streams_is_recognised() -> None:
    """It is recognized by the h2 exception in its chain, not by its text."""
    full = h2.exceptions.TooManyStreamsError("Max outbound streams is 10, 10 open")
    assert is_out_of_streams(httpcore2.LocalProtocolError(full))
    assert not is_out_of_streams(httpcore2.LocalProtocolError(str(full)))
    assert not is_out_of_streams(httpcore2.LocalProtocolError(h2.exceptions.FlowControlError()))
    assert not is_out_of_streams(httpcore2.RemoteProtocolError(full))


def test_http2_and_socks_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are extras of httpx: without them nothing raises their exceptions."""
    for name in ("h2", "h2.exceptions", "socksio", "socksio.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.spec_from_file_location("alone", core_errors.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)

    assert type(alone.mapped(httpcore2.ReadError("why"), httpx)) is httpx.ReadError
    assert alone.mapped(h2.exceptions.FlowControlError(), httpx) is None
    assert not alone.is_out_of_streams(
        httpcore2.LocalProtocolError(h2.exceptions.TooManyStreamsError())
    )
