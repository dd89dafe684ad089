"""One API, many tenants: a circuit breaker, a rate limit and a retry budget for each of them.

Run it with `uv run examples/per_tenant.py`. If the account of one tenant fails, the others are
still served and retried, and a tenant that sends too much waits alone. Each of these layers takes
the same `key=`; without it, the tenants would share what the layer keeps for an origin.
"""

import asyncio
from functools import partial

import httpx

from walltrack import (
    Backoff,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    RateLimitTransport,
    RetryBudget,
    RetryPolicy,
    RetryTransport,
    resilient_transport,
)

AT_ONCE = RetryPolicy(max_retries=1, backoff=Backoff(base=0.0))
"""So that the example does not wait."""


def tenant_of(request: httpx.Request) -> tuple[str, str]:
    """Return what a request belongs to: keys are compared, so they hold no secret."""
    return request.url.host, request.headers.get("x-tenant", "")


def service(request: httpx.Request) -> httpx.Response:
    """Fail for one tenant."""
    return httpx.Response(500 if request.headers["x-tenant"] == "globex" else 200)


async def outcome(client: httpx.AsyncClient, tenant: str) -> str:
    """Ask for a tenant, and say what came of it."""
    try:
        response = await client.get("https://api.example.com/orders", headers={"x-tenant": tenant})
    except CircuitBreakerOpenError:
        return "refused at once"
    return str(response.status_code)


async def main() -> None:
    """Let the circuit of one tenant open, and ask for both."""
    transport = resilient_transport(
        httpx.MockTransport(service),
        retry=partial(RetryTransport, policy=AT_ONCE, key=tenant_of),
        budget=RetryBudget(5, deposit=0.5, refused_cost=0.1, timeout_cost=5),
        breaker=partial(CircuitBreakerTransport, failure_threshold=4, key=tenant_of),
        rate_limit=partial(RateLimitTransport, rate=100, burst=10, key=tenant_of),
    )
    async with httpx.AsyncClient(transport=transport) as client:
        for tenant in ("globex", "globex", "globex", "acme"):
            print(f"{tenant}: {await outcome(client, tenant)}")


if __name__ == "__main__":
    asyncio.run(main())
