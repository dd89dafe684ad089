"""Real processes that share their state: `python -m tests.fleet.workers PLAN` forks them.

Each worker sends requests to the service, one after the other in each of its callers. What happens
is written to stdout, one JSON object a line. The processes end with the first one, or after
`seconds`.
"""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass

import httpx
import redis.asyncio

from walltrack import (
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    Event,
    RateLimitTransport,
    resilient_transport,
)
from walltrack.fleet import RedisState


@dataclass(frozen=True)
class Plan:
    """What the workers do."""

    redis: str
    service: str
    workers: int = 8
    cooldown: float = 0.5
    interval: float = 0.05
    rate: float | None = None
    callers: int = 1
    waits: bool = False  # the standard stack, in which callers wait for an open circuit
    seconds: float = 20.0
    timeout: float = 1.0  # of the store; processes can be slow where tests share a machine


def tell(**what: object) -> None:
    """Write one line, in one piece."""
    os.write(1, json.dumps({"at": time.time(), **what}).encode() + b"\n")


class Telling(httpx.AsyncHTTPTransport):
    """Reports each request when it is sent: a busy server would notice it later."""

    def __init__(self, number: int) -> None:
        super().__init__(verify=False)  # reading certificates takes longer than all else
        self.number = number

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        tell(worker=self.number, event="sent")
        return await super().handle_async_request(request)


async def work(plan: Plan, number: int) -> None:
    """Be one worker."""

    def listen(event: Event) -> None:
        tell(worker=number, event=event.name)

    async with redis.asyncio.Redis.from_url(plan.redis) as client:
        shared = RedisState(client, timeout=plan.timeout, listener=listen)
        transport: httpx.AsyncBaseTransport = CircuitBreakerTransport(
            Telling(number) if plan.rate else httpx.AsyncHTTPTransport(verify=False),
            cooldown=plan.cooldown,
            shared=shared,
            listener=listen,
        )
        if plan.rate is not None:
            transport = RateLimitTransport(
                transport, plan.rate, max_wait=2.0, shared=shared, listener=None
            )
        if plan.waits:
            plain = httpx.AsyncHTTPTransport(verify=False)
            transport = resilient_transport(plain, retry=None, shared=shared, listener=listen)
        headers = {"x-worker": str(number)}
        async with httpx.AsyncClient(transport=transport, headers=headers, timeout=10.0) as http:
            tell(worker=number, event="ready", pid=os.getpid())
            await asyncio.gather(*(call(plan, http, number) for _ in range(plan.callers)))


async def call(plan: Plan, http: httpx.AsyncClient, number: int) -> None:
    """Send one request after the other."""
    until = time.monotonic() + plan.seconds
    await asyncio.sleep(plan.interval * number / plan.workers)
    while time.monotonic() < until:
        try:
            await http.get(plan.service)
        except CircuitBreakerOpenError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever reaches a caller is reported
            tell(worker=number, event="error", error=repr(error))
        await asyncio.sleep(plan.interval)


def main() -> None:
    """Fork the workers, and wait for them."""
    plan = Plan(**json.loads(sys.argv[1]))
    pids: list[int] = []
    for number in range(plan.workers):
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            try:
                asyncio.run(work(plan, number))
            finally:
                os._exit(0)
        pids.append(pid)

    def stop(*_: object) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    while pids:
        pids.remove(os.wait()[0])  # its number can become that of another process


def argument(plan: Plan) -> str:
    """The plan as an argument of this module."""
    return json.dumps(asdict(plan))


if __name__ == "__main__":
    main()
