"""How to test code that calls an API through walltrack: with a script, and in virtual time.

Run it with `uv run pytest examples/testing.py`, or by itself.
"""

import asyncio

import httpx
import pytest

from walltrack import BaseAPIClient, CircuitBreaker, CircuitBreakerOpenError, ExternalServiceError
from walltrack.testing import ScriptedTransport, VirtualTime

WARM = httpx.Response(200, json={"degrees": 21})


class Weather(BaseAPIClient):
    """The client under test."""

    async def temperature(self, city: str) -> float | None:
        """Degrees in a city, or None while the service is known to be down."""
        try:
            response = await self.get(f"/cities/{city}")
        except CircuitBreakerOpenError:
            return None
        return float(response.json()["degrees"])


def weather(service: ScriptedTransport, time: VirtualTime) -> Weather:
    """A client of a service that does as the script says, and whose time is virtual."""
    return Weather(
        "https://weather.test",
        transport=service,
        breaker=CircuitBreaker(failure_threshold=4, cooldown=30, clock=time.monotonic),
        sleep=time.sleep,
    )


async def outlasts_a_short_outage() -> None:
    """A busy service and a connection that takes too long cost three seconds and no error."""
    service = ScriptedTransport([503, httpx.ConnectTimeout, WARM])
    async with VirtualTime() as time, weather(service, time) as client:
        assert await client.temperature("Graz") == 21
        assert time.monotonic() == 1 + 2
    assert [request.url.path for request in service.requests] == ["/cities/Graz"] * 3


async def knows_when_the_service_is_down() -> None:
    """Four failures are an error; after that nothing is sent until the cooldown is over."""
    service = ScriptedTransport([500, 500, 500, 500, WARM])
    async with VirtualTime() as time, weather(service, time) as client:
        with pytest.raises(ExternalServiceError, match="answered 500"):
            await client.temperature("Graz")
        assert await client.temperature("Graz") is None
        assert service.calls == 4
        await time.sleep(30)
        assert await client.temperature("Graz") == 21


async def gives_up_on_a_server_that_says_no() -> None:
    """A 404 is an answer: it is not asked for twice. A second request would fail the test."""
    service = ScriptedTransport([404])
    async with VirtualTime() as time, weather(service, time) as client:
        with pytest.raises(ExternalServiceError, match="answered 404"):
            await client.temperature("Atlantis")


def test_it_outlasts_a_short_outage() -> None:
    """With a plugin for async tests, such as anyio's, the story could be the test."""
    asyncio.run(outlasts_a_short_outage())


def test_it_knows_when_the_service_is_down() -> None:
    """As above."""
    asyncio.run(knows_when_the_service_is_down())


def test_it_gives_up_on_a_server_that_says_no() -> None:
    """As above."""
    asyncio.run(gives_up_on_a_server_that_says_no())


if __name__ == "__main__":
    test_it_outlasts_a_short_outage()
    test_it_knows_when_the_service_is_down()
    test_it_gives_up_on_a_server_that_says_no()
    print("All three tests passed, with no second waited.")
