"""From httpx-retries to walltrack: what each option becomes.

Run it with `uv run examples/migrate_from_httpx_retries.py`.

    retry = Retry(total=5, backoff_factor=0.5, status_forcelist=[429, 502, 503, 504])
    client = httpx.AsyncClient(transport=RetryTransport(retry=retry))

httpx-retries                      walltrack
─────────────────────────────────  ─────────────────────────────────────────────────────
total=5                            max_retries=5 (10 there, 3 here by default)
backoff_factor=0.5                 backoff=Backoff(base=1.0): seconds, twice the factor
backoff_jitter=1.0                 backoff=Backoff(jitter="full"): here there is none by default
max_backoff_wait=30                backoff=Backoff(cap=30), and max_retry_after=30
status_forcelist=[429, 502 ...]    statuses=[429, 502 ...]: by default 429 and every 5xx
allowed_methods=[..., "POST"]      non_idempotent="keyed" or "always"; by default "proven"
retry_on_exceptions=[...]          exceptions=(...)
respect_retry_after_header=True    always; a wait beyond max_retry_after ends the call
total_timeout=60                   resilient_transport(deadline=60): of the whole call
validate_response=check            classify=, of every layer

Beyond that limit of 30 seconds httpx-retries waits for 30 and asks again; walltrack returns the
response. There is no transport for the synchronous client here.
"""

import asyncio

import httpx

from walltrack import Backoff, RetryPolicy, RetryTransport

answers = iter([503, 502, 200])


async def main() -> None:
    """Ask a flaky service by the transport that replaces the old one."""
    transport = RetryTransport(
        httpx.MockTransport(lambda _: httpx.Response(next(answers))),
        policy=RetryPolicy(
            max_retries=5,
            backoff=Backoff(base=0.05, cap=30, jitter="full"),
            statuses={429, 502, 503, 504},
            max_retry_after=30,
        ),
        listener=None,
    )
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get("https://api.example.com/")
    print(response.status_code, "after", response.extensions["walltrack.attempts"], "attempts")


if __name__ == "__main__":
    asyncio.run(main())
