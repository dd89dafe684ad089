"""From tenacity (or stamina) around a function to a transport beneath the client.

Run it with `uv run examples/migrate_from_tenacity.py`. What it replaces:

    @retry(
        stop=stop_after_attempt(4) | stop_after_delay(30),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        retry=retry_if_exception_type((httpx.TransportError, httpx.HTTPStatusError)),
        before_sleep=before_sleep_log(logger, logging.WARNING),
        reraise=True,
    )
    async def price(client, token):
        response = await client.get(f"/prices/{token}")
        response.raise_for_status()
        return response.json()

tenacity                        walltrack
──────────────────────────────  ──────────────────────────────────────────────────────────
stop_after_attempt(4)           RetryPolicy(max_retries=3); a budget also limits all calls together
stop_after_delay(30)            resilient_transport(deadline=30), which also ends an attempt
wait_exponential(...)           Backoff(base=1, factor=2, cap=60)
wait_random_exponential(...)    Backoff(base=0.5, cap=10, jitter="full"), and Retry-After
retry_if_exception_type(...)    the outcome table: a 404 is not repeated, a POST not blindly
before_sleep_log(...)           a log entry for every retry, by default
reraise=True                    always: what came last comes back as it is

Every call through the client is covered, those of an SDK included. What is not HTTP stays with
tenacity.
"""

import asyncio
import logging

import httpx

from walltrack import Backoff, RetryPolicy, resilient_transport

answers = iter([503, 429, 200])


async def price(client: httpx.AsyncClient, token: str) -> float:
    """Return a price: the same function, without a decorator."""
    response = await client.get(f"/prices/{token}")
    response.raise_for_status()
    return float(response.json()["usd"])


async def main() -> None:
    """Ask a flaky service."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    transport = resilient_transport(
        httpx.MockTransport(lambda _: httpx.Response(next(answers), json={"usd": 71.25})),
        retry=RetryPolicy(max_retries=3, backoff=Backoff(base=0.05, cap=10, jitter="full")),
        deadline=30,
    )
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        print("the price is", await price(client, "sol"))


if __name__ == "__main__":
    asyncio.run(main())
