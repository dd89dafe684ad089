"""The layers beneath an SDK that accepts an `httpx.AsyncClient`.

Run it with `uv run examples/beneath_an_sdk.py`. The SDK is the class below, in the form of many: it
takes `http_client=`, and repeats failed requests by itself. With both retries the attempts
multiply: one call of openai or anthropic, at their defaults, would send twelve requests to a
service that is down. The retry budget stops them at eight, under three Idempotency-Keys, since each
retry of the SDK is a new call for the layers beneath. So turn the SDK's retries off:

| SDK | how |
|---|---|
| openai, anthropic, groq, langchain, litellm, cohere | `max_retries=0` |
| githubkit | `auto_retry=False` |
| postgrest; supabase | `retry_enabled=False`; `postgrest_client_retry=False` |
| microsoft-kiota, msgraph | `RetryHandlerOption(should_retry=False)` |
| google-genai, mistralai, ollama, qdrant-client | they are off by default |

Where you cannot, because others use the same client, `resilient_transport(sole_retrier=True)` marks
final responses with `x-should-retry: false`, which the SDKs that Stainless generates (openai,
anthropic, groq) obey. They still repeat what ended with an exception: a reset, a timeout, and an
open circuit.

Some SDKs set timeouts of their own for each request, in place of those of the client:
`attempt_timeout=` holds for all of them. And where a second POST acts a second time, as a tool call
of MCP does or a message of a bot, keep `RetryPolicy(non_idempotent="proven")`, the default.
"""

import asyncio

import httpx

from walltrack import AttemptTimeout, Backoff, RetryPolicy, dialects, resilient_transport


class SDK:
    """Somebody's SDK: `max_retries` and `http_client`, as in those of OpenAI or Anthropic."""

    def __init__(self, *, http_client: httpx.AsyncClient, max_retries: int = 2) -> None:
        self.client, self.max_retries = http_client, max_retries

    async def complete(self, prompt: str) -> str:
        """Ask the service, and again when it is busy."""
        for _ in range(self.max_retries + 1):
            response = await self.client.post("/complete", json={"prompt": prompt})
            if response.is_success or response.headers.get("x-should-retry") == "false":
                break
        return response.text if response.is_success else f"error {response.status_code}"


async def attempts(*, max_retries: int = 2, sole_retrier: bool = False) -> int:
    """Return how many requests one call takes while the service is down."""
    asked: list[httpx.Request] = []

    def down(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(503)

    transport = resilient_transport(
        httpx.MockTransport(down),  # omit it in your program
        retry=RetryPolicy(backoff=Backoff(base=0.01)),
        sole_retrier=sole_retrier,
        breaker=None,  # it would open here, and hide what is shown
        deadline=60,
        attempt_timeout=AttemptTimeout(headers=20, idle=20),  # a stream may be long
        classify=dialects.openai,  # what this vendor's errors mean
        listener=None,
    )
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        await SDK(http_client=client, max_retries=max_retries).complete("hello")
    return len(asked)


async def main() -> None:
    """Count the requests of one call, with the retries of the SDK and without."""
    print(f"retries of both: {await attempts()} requests")
    print(f"max_retries=0 in the SDK: {await attempts(max_retries=0)} requests")
    print(f"sole_retrier=True beneath it: {await attempts(sole_retrier=True)} requests")


if __name__ == "__main__":
    asyncio.run(main())
