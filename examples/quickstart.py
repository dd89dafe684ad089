"""A service that falters, fails and recovers, and a client that lives through it.

Run it with `uv run examples/quickstart.py`. Everything happens over real HTTP on loopback: the
service is the one at the end of this file. It exits 0 only if all that it tells really happened.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable

import httpx

from walltrack import (
    Backoff,
    BaseAPIClient,
    CircuitBreaker,
    CircuitBreakerOpenError,
    Event,
    ExternalServiceError,
    RetryPolicy,
    RetryScheduled,
)


class Prices(BaseAPIClient):
    """Your client for somebody's API: say what it offers, the rest is inherited."""

    async def price(self, token: str) -> float:
        """What one token costs."""
        response = await self.get(f"/prices/{token}")
        return float(response.text)


async def story(service: "Service", tell: "Narrator") -> None:
    """Tell it, a line for each thing that happens."""
    client = Prices(
        service.url,
        service="prices",
        retry=RetryPolicy(backoff=Backoff(base=0.2)),  # by default 1 s, 2 s, 4 s
        breaker=CircuitBreaker(failure_threshold=5, cooldown=2.0),  # by default 30 s
        listener=tell.events.append,  # by default every event is a structlog entry
        transport=httpx.AsyncHTTPTransport(),  # by default by the proxies of your environment
    )
    async with client:
        tell.begin("all is well")
        price = await client.price("sol")
        tell(f"the price is {price:g}", service.asked == 1)

        tell.begin("it falters")
        service.plans = [503, RESET, 200]
        price = await client.price("sol")
        waits = [event.delay for event in tell.events if isinstance(event, RetryScheduled)]
        tell(
            f"a 503, a reset, then the price: {price:g}; waited {waits[0]} s and {waits[1]} s",
            service.asked == 3 and waits == [0.2, 0.4],
        )

        tell.begin("no such thing")
        service.plans = [404]
        error = await failure_of(client.price("unknown"))
        tell(
            f"asked once, failed at once: {error}",
            service.asked == 1 and tell.names == ["retry_stopped"],
        )

        tell.begin("it goes down")
        service.otherwise = 500
        first = await failure_of(client.price("sol"))
        second = await failure_of(client.price("sol"))
        tell(
            f"{first.attempts} attempts, then {second.attempts} more, and the circuit opens",
            service.asked == 5 and "circuit_opened" in tell.names,
        )

        tell.begin("it is left alone")
        calls = 1000
        began = time.perf_counter()
        refusals = [await refusal_of(client.price("sol")) for _ in range(calls)]
        each = (time.perf_counter() - began) / calls
        tell(
            f"{calls} calls refused in {each * 1e6:.0f} µs each, none of them sent",
            all(refusals) and service.asked == 0,
        )

        tell.begin("it recovers")
        service.otherwise = 200
        await asyncio.sleep(client.circuit_breaker.shut_for())
        outcomes = await asyncio.gather(*(refusal_of(client.price("sol")) for _ in range(20)))
        refused = sum(refusal is not None for refusal in outcomes)
        tell(
            f"the cooldown is over; of 20 callers at once 1 probes, {refused} are refused",
            refused == 19 and service.asked == 1,
        )

        tell.begin("all is well again")
        price = await client.price("sol")
        state = client.circuit_breaker.state
        tell(f"the circuit is {state}, the price is {price:g}", state == "closed")


async def failure_of(call: Awaitable[float]) -> ExternalServiceError:
    """The error with which a call ends."""
    try:
        await call
    except ExternalServiceError as error:
        return error
    sys.exit("A call succeeded that should have failed.")


async def refusal_of(call: Awaitable[float]) -> CircuitBreakerOpenError | None:
    """The refusal with which a call ends, or None when it was let through."""
    try:
        await call
    except CircuitBreakerOpenError as refusal:
        return refusal
    return None


class Narrator:
    """Prints a line for each thing that happened, and how long it took; stops at an untrue one."""

    def __init__(self, service: "Service") -> None:
        self.service = service
        self.events: list[Event] = []
        self.title, self.began = "", 0.0

    @property
    def names(self) -> list[str]:
        """The names of the events since the chapter began."""
        return [event.name for event in self.events]

    def begin(self, title: str) -> None:
        """Begin a chapter: count requests, events and time from here."""
        self.service.asked = 0
        self.events.clear()
        self.title, self.began = title, time.perf_counter()

    def __call__(self, what: str, really: bool) -> None:  # noqa: FBT001 - reads as a sentence
        """Tell what happened, if it did."""
        took = time.perf_counter() - self.began
        print(f"{self.title:>18} │ {took:6.3f} s │ {what}", flush=True)
        if not really:
            sys.exit(f"That did not happen: asked {self.service.asked} times, {self.names}.")


RESET = 0


class Service:
    """A small HTTP server that answers as planned, or drops the connection."""

    def __init__(self) -> None:
        self.plans: list[int] = []
        self.otherwise = 200
        self.asked = 0
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        """Listen on loopback while the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        yield self
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                status = self.plans.pop(0) if self.plans else self.otherwise
                if status == RESET:
                    break
                await asyncio.sleep(0.01)
                head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Sorry'}"
                writer.write(f"{head}\r\ncontent-length: 5\r\n\r\n71.25".encode())
        writer.close()


async def main() -> None:
    """Run the service and tell its story."""
    async with Service().running() as service:
        print(f"A service on {service.url}, and a client for it\n")
        await story(service, Narrator(service))
        print("\nAll of it really happened.")


if __name__ == "__main__":
    asyncio.run(main())
