"""How to test code that uses a BaseAPIClient: over a mock transport, in no time.

Run it with `uv run pytest examples/testing.py`, or by itself.
"""

import asyncio

import httpx
import pytest

from walltrack import BaseAPIClient, CircuitBreaker, CircuitBreakerOpenError, ExternalServiceError


class Weather(BaseAPIClient):
    """The client under test."""

    async def temperature(self, city: str) -> float | None:
        """Degrees in a city, or None while the service is known to be down."""
        try:
            response = await self.get(f"/cities/{city}")
        except CircuitBreakerOpenError:
            return None
        return float(response.json()["degrees"])


class FakeTime:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        """Seconds that passed so far."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass without waiting."""
        self.now += seconds


def weather(time: FakeTime, *statuses: int) -> Weather:
    """A client of a service that answers with `statuses`, one after the other."""
    answers = iter(statuses)
    return Weather(
        "https://weather.test",
        transport=httpx.MockTransport(
            lambda _: httpx.Response(next(answers), json={"degrees": 21})
        ),
        breaker=CircuitBreaker(failure_threshold=4, cooldown_seconds=30, clock=time.clock),
        sleep=time.sleep,
    )


def test_it_outlasts_a_short_outage() -> None:
    """Two failures cost three seconds and no error."""
    time = FakeTime()
    assert asyncio.run(weather(time, 503, 503, 200).temperature("Graz")) == 21
    assert time.now == 1 + 2


def test_it_knows_when_the_service_is_down() -> None:
    """Four failures are an error; after that nothing is sent until the cooldown is over."""

    async def story() -> None:
        time = FakeTime()
        client = weather(time, 500, 500, 500, 500, 200)
        with pytest.raises(ExternalServiceError, match="answered 500"):
            await client.temperature("Graz")
        assert await client.temperature("Graz") is None
        await time.sleep(30)
        assert await client.temperature("Graz") == 21

    asyncio.run(story())


if __name__ == "__main__":
    test_it_outlasts_a_short_outage()
    test_it_knows_when_the_service_is_down()
    print("Both tests passed, with no second waited.")
