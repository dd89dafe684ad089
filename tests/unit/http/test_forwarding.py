from types import TracebackType

import httpx
import pytest

from tests.support import Scripted
from walltrack import RetryTransport
from walltrack.http.forwarding import ForwardingTransport, shown


class Recorder(httpx.AsyncBaseTransport):
    """Keeps the arguments of `__aexit__`."""

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
    await ForwardingTransport(inner).aclose()

    assert (inner.entered, inner.exited, inner.closed) == (0, 0, 1)


@pytest.mark.anyio
async def test_the_context_is_forwarded_once() -> None:
    """Entering and leaving reach the inner transport once each; leaving does not also close it."""
    inner = Scripted(200)
    outer = ForwardingTransport(inner)

    async with outer as entered:
        assert entered is outer
        assert (inner.entered, inner.exited) == (1, 0)

    assert (inner.entered, inner.exited, inner.closed) == (1, 1, 0)


@pytest.mark.anyio
async def test_each_layer_forwards_once() -> None:
    """Through several layers the innermost transport is still entered and left once."""
    inner = Scripted(200)

    async with ForwardingTransport(ForwardingTransport(ForwardingTransport(inner))):
        pass

    assert (inner.entered, inner.exited, inner.closed) == (1, 1, 0)


@pytest.mark.anyio
async def test_the_inner_transport_learns_why_it_is_left() -> None:
    """An exception that leaves the context is passed to the inner transport, and propagates."""
    inner = Recorder()
    error = RuntimeError("why")

    with pytest.raises(RuntimeError, match="why"):
        async with ForwardingTransport(inner):
            raise error

    assert inner.left_with == [(RuntimeError, error, error.__traceback__)]


def test_a_transport_is_shown_as_it_could_be_typed() -> None:
    """By its own repr, or else by its class, without a memory address."""
    assert shown(httpx.AsyncHTTPTransport()) == "AsyncHTTPTransport()"
    assert shown(RetryTransport(Recorder())).startswith("RetryTransport(Recorder(), ")
