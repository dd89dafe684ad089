import functools
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import httpx
import httpx2
import pytest
import respx

from tests.unit.http.test_options import check
from walltrack import HTTPTransport, RetryTransport
from walltrack.http.interception import is_intercepted, own_transport

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("home", [httpx, httpx2], ids=lambda home: home.__name__)

NAME = "handle_async_request"


class Wrapper:
    """Looks like the object that it wraps, as wrappers of instrumentations do."""

    def __init__(self, wrapped: Callable[..., Awaitable[Any]]) -> None:
        functools.update_wrapper(self, wrapped)

    def __get__(self, instance: object, owner: type) -> Callable[..., Awaitable[Any]]:
        return self

    async def __call__(self, request: Any) -> Any:  # noqa: ANN401 - of either family
        return mocked(request)


def mocked(request: Any) -> Any:  # noqa: ANN401 - of either family
    """A response without a connection."""
    home = httpx if isinstance(request, httpx.Request) else httpx2
    return home.Response(200, text="mocked", request=request)


@contextmanager
def patched(home: Any, how: str) -> Iterator[None]:  # noqa: ANN401 - a module
    """Replace the transport of a family, as tools do."""
    own = home.AsyncHTTPTransport.handle_async_request

    async def stand_in(self: object, request: Any) -> Any:  # noqa: ANN401 - of either family
        del self
        return mocked(request)

    class Other:
        def __init__(self, **_: object) -> None:
            """Accept any arguments."""

        handle_async_request = stand_in

        async def aclose(self) -> None:
            """Do nothing."""

    patches = {
        "function": (home.AsyncHTTPTransport, NAME, stand_in),
        "wrapping function": (home.AsyncHTTPTransport, NAME, functools.wraps(own)(stand_in)),
        "object": (home.AsyncHTTPTransport, NAME, Wrapper(own)),
        "mock": (home.AsyncHTTPTransport, NAME, mock.AsyncMock(side_effect=mocked)),
        "class": (home, "AsyncHTTPTransport", Other),
    }
    with mock.patch.object(*patches[how]):
        yield


WAYS = ["function", "wrapping function", "object", "mock", "class"]


@BOTH
@pytest.mark.parametrize("how", WAYS)
async def test_what_stands_in_for_the_transport_is_asked(home: Any, how: str) -> None:  # noqa: ANN401 - a module
    """While it does, also with a client that was made before."""
    async with home.AsyncClient(transport=HTTPTransport(), timeout=1) as client:
        for _ in range(2):
            with pytest.raises(home.ConnectError):
                await client.get("http://127.0.0.1:1/")
            with patched(home, how):
                assert (await client.get("http://127.0.0.1:1/")).text == "mocked"
        assert not is_intercepted(home)


@BOTH
async def test_the_other_family_is_not_concerned(home: Any) -> None:  # noqa: ANN401 - a module
    """A mock of httpx does not affect httpx2."""
    other: Any = httpx2 if home is httpx else httpx
    async with other.AsyncClient(transport=HTTPTransport(), timeout=1) as client:
        with patched(home, "function"), pytest.raises(other.ConnectError):
            await client.get("http://127.0.0.1:1/")


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_respx_mocks_what_goes_over_the_default_transport(using: str) -> None:
    """By its default mocker, which replaces a method of httpcore's pool, and by the other."""
    async with httpx.AsyncClient(transport=RetryTransport(listener=None)) as client:
        with respx.mock(using=using) as router:
            router.get("https://api.test/things").respond(text="mocked")
            assert (await client.get("https://api.test/things")).text == "mocked"


def test_a_mock_that_was_there_first_is_seen() -> None:
    """The first transport is often made inside a test."""
    code = (
        "import asyncio, httpx, respx\n"
        "with respx.mock as router:\n"
        "    from walltrack import HTTPTransport\n"
        "    router.get('https://api.test/').respond(text='mocked')\n"
        "    client = httpx.AsyncClient(transport=HTTPTransport())\n"
        "    assert asyncio.run(client.get('https://api.test/')).text == 'mocked'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


def test_httpcore_need_not_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is not imported was not replaced."""
    monkeypatch.delitem(sys.modules, "httpcore")
    assert not is_intercepted(httpx)
    assert "httpcore" not in sys.modules


@BOTH
def test_the_own_transport_is_made_with_what_was_configured(
    monkeypatch: pytest.MonkeyPatch, home: ModuleType
) -> None:
    """It has all options, so that a call that a mock passes through uses them."""
    given: dict[str, Any] = {}

    def make(**options: Any) -> str:  # noqa: ANN401 - of any type
        given.update(options)
        return "made"

    monkeypatch.setattr(home, "AsyncHTTPTransport", make)
    options = check(http2=True, retries=2, local_address="127.0.0.1", trust_env=False)
    proxy = httpx.Proxy("http://proxy.test")
    transport: Any = own_transport(home, options, proxy)
    assert transport == "made"
    assert given == {
        "verify": options.contexts.of(home),
        "http1": True,
        "http2": True,
        "limits": options.limits,
        "trust_env": False,
        "proxy": proxy,
        "uds": None,
        "local_address": "127.0.0.1",
        "retries": 2,
        "socket_options": None,
    }
