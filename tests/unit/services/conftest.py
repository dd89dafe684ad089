"""Clients for the tests, and virtual time for those that are written as a user would."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support import Clock, Events, Scripted, Step
from tests.unit.services.clients import URL, Make, Things
from walltrack import BaseAPIClient, CircuitBreaker
from walltrack.testing import VirtualTime


@pytest_asyncio.fixture
async def time() -> AsyncIterator[VirtualTime]:
    """Time in which seconds of waiting pass at once."""
    async with VirtualTime() as time:
        yield time


@pytest_asyncio.fixture
async def client(time: VirtualTime) -> AsyncIterator[BaseAPIClient]:
    """A client with every default of the library, but its time."""
    breaker = CircuitBreaker(service="prices", clock=time.monotonic)
    async with BaseAPIClient(
        "https://api.test", service="prices", breaker=breaker, sleep=time.sleep
    ) as client:
        yield client


@pytest.fixture
def make(clock: Clock, events: Events) -> Make:
    """Makes a client that neither waits nor logs."""

    def make(*script: Step, inner: Scripted | None = None, **options: Any) -> Things:  # noqa: ANN401
        transport = inner or Scripted(*script)
        given = {"transport": transport, "sleep": clock.sleep, "listener": events}
        return Things(URL, **{**given, **options})

    return make
