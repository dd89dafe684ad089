"""Fixtures for tests over real sockets."""

from collections.abc import Iterator

import pytest

from tests.integration.fault_server import FaultServer, running


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server on loopback that misbehaves as it is told."""
    with running() as fault_server:
        yield fault_server
