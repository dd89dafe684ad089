from types import ModuleType, TracebackType

import httpx
import httpx2
import pytest

from tests.support import Scripted
from walltrack import HTTPTransport
from walltrack.http.wrapper import WrappingTransport


class Recorder(httpx.AsyncBaseTransport):
    """Keeps what it was left with."""

    def __init__(self) -> None:
        self.left_with: list[tuple[object, ...]] = []

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.left_with.append((exc_type, exc_value, traceback))


@pytest.mark.anyio
async def test_closing_is_forwarded_once() -> None:
    """`aclose` closes the inner transport, and does nothing else to it."""
    inner = Scripted(200)
    await WrappingTransport(inner).aclose()

    assert (inner.entered, inner.exited, inner.closed) == (0, 0, 1)


@pytest.mark.anyio
async def test_the_context_is_forwarded_once() -> None:
    """Entering and leaving reach the inner transport once each, and leaving is not closing too."""
    inner = Scripted(200)
    outer = WrappingTransport(inner)

    async with outer as entered:
        assert entered is outer
        assert (inner.entered, inner.exited) == (1, 0)

    assert (inner.entered, inner.exited, inner.closed) == (1, 1, 0)


@pytest.mark.anyio
async def test_each_layer_forwards_once() -> None:
    """Through several layers the innermost transport is still entered and left once."""
    inner = Scripted(200)

    async with WrappingTransport(WrappingTransport(WrappingTransport(inner))):
        pass

    assert (inner.entered, inner.exited, inner.closed) == (1, 1, 0)


@pytest.mark.anyio
async def test_the_inner_transport_learns_why_it_is_left() -> None:
    """An exception that leaves the context is shown to the inner transport, and goes on."""
    inner = Recorder()
    error = RuntimeError("why")

    with pytest.raises(RuntimeError, match="why"):
        async with WrappingTransport(inner):
            raise error

    assert inner.left_with == [(RuntimeError, error, error.__traceback__)]


def test_without_an_inner_transport_it_makes_one_for_either_family() -> None:
    """None stands for an `AsyncHTTPTransport()` of whichever family asks."""
    inner = WrappingTransport()._inner  # noqa: SLF001 - no other way to see it without a network

    assert isinstance(inner, HTTPTransport)


@pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_it_belongs_to_the_family_of_the_inner_transport(home: ModuleType) -> None:
    """Code that checks before it takes a transport takes this one for what it can be used for."""
    inner = home.MockTransport(lambda _: home.Response(200))
    assert isinstance(WrappingTransport(inner), home.AsyncBaseTransport)
