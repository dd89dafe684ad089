"""Fixtures for tests over real sockets."""

from collections.abc import Iterator
from types import ModuleType

import httpx
import httpx2
import pytest

from tests.integration.fault_server import FaultServer, running


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server on loopback that misbehaves as it is told."""
    with running() as fault_server:
        yield fault_server


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def family(request: pytest.FixtureRequest) -> ModuleType:
    """Whose client makes the calls, and whose exceptions come out: a test runs once for each."""
    home: ModuleType = request.param
    return home
