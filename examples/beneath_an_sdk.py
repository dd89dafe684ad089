"""The layers beneath an SDK that accepts an `httpx.AsyncClient`.

Run it with `uv run examples/beneath_an_sdk.py`. The SDK is the class below, in the form of many: it
takes `http_client=` and repeats failed requests by itself unless `max_retries=0`. With both, the
attempts multiply: three of the SDK with four of the transport are twelve. So turn one of them off.
"""

import asyncio

import httpx

from walltrack import Backoff, RetryPolicy, dialects, resilient_transport


class SDK:
    """Somebody's SDK: `max_retries` and `http_client`, as in those of OpenAI or Anthropic."""

    def __init__(self, *, http_client: httpx.AsyncClient, max_retries: int = 2) -> None:
        self.client, self.max_retries = http_client, max_retries

    async def complete(self, prompt: str) -> str:
        """Ask the service, and again when it is busy."""
        for _ in range(self.max_retries + 1):
            response = await self.client.post("/complete", json={"prompt": prompt})
            if response.is_success:
                break
        return response.text if response.is_success else f"error {response.status_code}"


async def attempts(max_retries: int) -> int:
    """Return how many requests one call takes while the service is down."""
    asked: list[httpx.Request] = []

    def down(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(503)

    transport = resilient_transport(
        httpx.MockTransport(down),  # leave it out, and requests go over the network
        retry=RetryPolicy(backoff=Backoff(base=0.01)),
        breaker=None,  # it would open here, and hide what is shown
        deadline=60,
        classify=dialects.openai,  # what this vendor's errors mean
        listener=None,
    )
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        await SDK(http_client=client, max_retries=max_retries).complete("hello")
    return len(asked)


async def main() -> None:
    """Count the requests of one call, with the retries of the SDK and without."""
    print(f"retries of both: {await attempts(max_retries=2)} requests")
    print(f"max_retries=0 in the SDK: {await attempts(max_retries=0)} requests")


if __name__ == "__main__":
    asyncio.run(main())
