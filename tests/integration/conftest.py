"""Fixtures for tests over real sockets."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import ModuleType

import httpx
import httpx2
import pytest

from tests.integration.fault_server import FaultServer, running
from tests.integration.proxy import Proxy, proxying, wind_down
from walltrack import HTTPTransport


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server on loopback that misbehaves by a script."""
    with running() as fault_server:
        yield fault_server


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy on loopback, in a thread of its own, so that the client may run on any loop."""
    there: list[tuple[Proxy, Callable[[], object]]] = []
    ready = threading.Event()

    async def main() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with proxying() as made:
            there.append((made, lambda: loop.call_soon_threadsafe(stopped.set)))
            ready.set()
            await stopped.wait()
        await wind_down()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="proxy")
    thread.start()
    ready.wait()
    made, stop = there[0]
    try:
        yield made
    finally:
        stop()
        thread.join()


def over_our_transport(home: ModuleType) -> ModuleType:
    """A family of httpx whose transport is the one of this library."""
    module = ModuleType(home.__name__)
    vars(module).update({name: getattr(home, name) for name in home.__all__})
    module.AsyncHTTPTransport = HTTPTransport  # type: ignore[attr-defined]  # in place of its own
    return module


@pytest.fixture(
    params=[httpx, over_our_transport(httpx), over_our_transport(httpx2)],
    ids=["httpx", "httpx over ours", "httpx2 over ours"],
)
def family(request: pytest.FixtureRequest) -> ModuleType:
    """The family whose client makes the calls and whose exceptions are raised: one run for each.

    The transport at the bottom is httpx's, whose connections are httpcore's, or ours.
    """
    home: ModuleType = request.param
    return home
