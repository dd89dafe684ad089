"""A FastAPI application that calls an API: one client for its lifetime, a dependency, and tests.

Run the tests with `uv run pytest examples/fastapi_app.py`, or this file by itself. To serve the
application, run `uvicorn fastapi_app:app`.
"""

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, TypedDict

import httpx
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from walltrack import BaseAPIClient, CircuitBreaker, CircuitBreakerOpenError, ExternalServiceError
from walltrack.testing import ScriptedTransport


class Prices(BaseAPIClient):
    """The client of the API."""

    async def usd(self, token: str) -> float:
        """Return the price of a token."""
        response = await self.get(f"/prices/{token}")
        return float(response.json()["usd"])


class State(TypedDict):
    """What all requests share."""

    prices: Prices


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Open one client for all requests: they share its connections and its circuit breaker."""
    async with Prices("https://api.example.com", deadline=5) as prices:
        yield {"prices": prices}


def prices_of(request: Request) -> Prices:
    """Return the client: this is the dependency that tests override."""
    prices: Prices = request.state.prices
    return prices


app = FastAPI(lifespan=lifespan)


@app.get("/tokens/{token}")
async def show(token: str, prices: Annotated[Prices, Depends(prices_of)]) -> dict[str, float]:
    """Show a token."""
    return {"usd": await prices.usd(token)}


@app.exception_handler(CircuitBreakerOpenError)
async def unavailable(_: Request, error: CircuitBreakerOpenError) -> JSONResponse:
    """Say when to ask again; infinite is how long a circuit stays open that was forced open."""
    headers = {"Retry-After": str(math.ceil(min(error.retry_after, 60)))}
    return JSONResponse({"detail": "prices are unavailable"}, 503, headers)


@app.exception_handler(ExternalServiceError)
async def bad_gateway(_: Request, error: ExternalServiceError) -> JSONResponse:
    """Answer 404 for what the API does not know, and 502 for any other failure of it."""
    status = 404 if error.status_code == 404 else 502
    return JSONResponse({"detail": "no price"}, status)


async def at_once(_: float) -> None:
    """Wait no time."""


@contextmanager
def application(service: ScriptedTransport) -> Iterator[TestClient]:
    """Open a client of the application, whose API does as the script says."""
    breaker = CircuitBreaker(failure_threshold=4)
    prices = Prices("https://api.example.com", transport=service, breaker=breaker, sleep=at_once)
    app.dependency_overrides[prices_of] = lambda: prices
    with TestClient(app) as client:
        yield client
    app.dependency_overrides.clear()


def test_a_short_outage_is_not_seen() -> None:
    """The API is busy once, and its client asks again."""
    service = ScriptedTransport([503, httpx.Response(200, json={"usd": 71.25})])
    with application(service) as client:
        assert client.get("/tokens/sol").json() == {"usd": 71.25}


def test_a_long_outage_is_reported() -> None:
    """Four failures open the circuit; the next request is answered at once, and nothing is sent."""
    service = ScriptedTransport([503, 503, 503, 503])
    with application(service) as client:
        assert client.get("/tokens/sol").status_code == 502
        answer = client.get("/tokens/sol")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")


def test_a_token_that_the_api_does_not_know() -> None:
    """A 404 is an answer: it is not asked for twice."""
    with application(ScriptedTransport([404])) as client:
        assert client.get("/tokens/nope").status_code == 404


if __name__ == "__main__":
    test_a_short_outage_is_not_seen()
    test_a_long_outage_is_reported()
    test_a_token_that_the_api_does_not_know()
    print("All three tests of the application passed.")
