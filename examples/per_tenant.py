"""One API, many tenants: a circuit breaker and a rate limit for each of them.

Run it with `uv run examples/per_tenant.py`. If the account of one tenant fails, the others are
still served, and a tenant that sends too much waits alone. The same `key=` works in every layer.
"""

import asyncio
from functools import partial

import httpx

from walltrack import (
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    RateLimitTransport,
    resilient_transport,
)


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
        retry=None,  # only to show each attempt
        breaker=partial(CircuitBreakerTransport, failure_threshold=2, key=tenant_of),
        rate_limit=partial(RateLimitTransport, rate=100, burst=10, key=tenant_of),
    )
    async with httpx.AsyncClient(transport=transport) as client:
        for tenant in ("globex", "globex", "globex", "acme"):
            print(f"{tenant}: {await outcome(client, tenant)}")


if __name__ == "__main__":
    asyncio.run(main())
