"""What the tests of the story share: a client, a mocked service and virtual time, as users have."""

from collections.abc import AsyncIterator

import pytest_asyncio

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
