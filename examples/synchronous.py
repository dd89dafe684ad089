"""Retries, a circuit breaker and a limit beneath a synchronous `httpx.Client`, for many threads.

Run it with `uv run examples/synchronous.py`. A mock transport replaces the network; in your
program, omit it. All threads that share the client share one stack, which runs in an event loop in
a thread of its own. Make one client for the program, and close it at the end.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx

from walltrack import Backoff, CircuitBreaker, CircuitBreakerOpenError, RetryPolicy, SyncTransport
from walltrack import resilient_transport as stack

AT_ONCE = RetryPolicy(backoff=Backoff(base=0.0))
"""So that the example does not wait; the default waits up to 1, 2 and 4 seconds."""

asked: Counter[str] = Counter()


async def service(request: httpx.Request) -> httpx.Response:
    """Fail twice, then work; never work for orders; return an upload."""
    asked[request.url.path] += 1
    if request.url.path == "/orders" or asked["/prices"] in {1, 2}:
        return httpx.Response(503)
    return httpx.Response(200, content=await request.aread())


def lines() -> Iterator[bytes]:
    """Generate an upload. This runs in the thread that calls `post`."""
    yield b"first line\n"
    yield b"second line\n"


def order(client: httpx.Client) -> str:
    """Call the part of the service that is down."""
    try:
        return str(client.get("/orders", extensions={"walltrack.retry": False}).status_code)
    except CircuitBreakerOpenError:
        return "rejected, not sent"


def main() -> None:
    """Make calls in one thread, then in many."""
    transport = SyncTransport(
        stack(
            httpx.MockTransport(service),
            retry=AT_ONCE,
            concurrency_limit=1,
            breaker=CircuitBreaker(failure_threshold=5, cooldown=30),
            waiting_room=None,  # so that an open circuit rejects calls
        )
    )
    with httpx.Client(transport=transport, base_url="https://api.example.com") as client:
        response = client.get("/prices")
        print("prices:", response.status_code, "after", response.extensions["walltrack.attempts"])
        print("upload:", len(client.post("/upload", content=lines()).content), "bytes")
        with ThreadPoolExecutor(8) as threads:
            outcomes = Counter(threads.map(order, [client] * 40))
        print("40 calls in 8 threads:", *outcomes.items())


if __name__ == "__main__":
    main()
