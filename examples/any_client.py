"""The transports beneath a plain httpx client, as they go beneath any SDK that accepts one.

Run it with `uv run examples/any_client.py`. A mock transport replaces the network; in your
program, omit it, and an `HTTPTransport()` sends the requests.
"""

import asyncio

import httpx

from walltrack import Backoff, CircuitBreakerTransport, RetryPolicy, RetryTransport

answers = iter([503, 429, 200])


def flaky(request: httpx.Request) -> httpx.Response:
    """A service that is busy twice."""
    return httpx.Response(next(answers), text=f"hello from {request.url.host}")


async def main() -> None:
    """Ask a flaky service as if it were a sound one."""
    transport = RetryTransport(
        CircuitBreakerTransport(httpx.MockTransport(flaky), failure_threshold=10),
        policy=RetryPolicy(max_retries=5, backoff=Backoff(base=0.1, jitter="full")),
    )
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get("https://api.example.com/greeting")
    print(response.text, "- after", response.extensions["walltrack.attempts"], "attempts")


if __name__ == "__main__":
    asyncio.run(main())
