"""The simulated service, and the httpx transport that leads to it."""

import asyncio
import math
from collections import Counter
from random import Random
from typing import Final

import httpx

from walltrack.rate_limit.token_bucket import TokenBucket
from walltrack.simulation.backend import Backend, Job
from walltrack.simulation.faults import BEFORE_WORK, Fault
from walltrack.simulation.messages import (
    cut_response,
    endless_response,
    short_response,
    timeout_of,
)
from walltrack.simulation.replay import ReplayTransport
from walltrack.simulation.scenario import Quota, Scenario
from walltrack.testing.messages import error_for

ROUND_TRIP: Final = 0.002
"""Seconds until a refused connection, or a response without any work, reaches the client."""

_FROM: Final = "simulated"
"""The beginning of the text of an exception."""


class SimulatedService:
    """All backends of a scenario, with their counts.

    Args:
        scenario: What is simulated.
        rng: Source of all randomness.
        loop: The event loop, with its virtual time.
    """

    def __init__(self, scenario: Scenario, rng: Random, loop: asyncio.AbstractEventLoop) -> None:
        self.scenario = scenario
        self.rng = rng
        self.loop = loop
        self.requests: Counter[int] = Counter()
        """How many requests arrived, by second."""
        self.backends: dict[str, list[Backend]] = {
            host: [self._backend(host, number) for number in range(scenario.service.backends)]
            for host in scenario.service.hosts
        }
        self._shared = _bucket(scenario.service.quota)

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return the transport of one client to the service, in place of an HTTPTransport."""
        if self.scenario.record:
            return ReplayTransport(self.scenario.record, self.rng, self.requests)
        quota = self.scenario.service.quota
        own = quota is not None and quota.per_client
        return SimulatedTransport(self, _bucket(quota) if own else self._shared)

    @property
    def done(self) -> int:
        """How many requests were processed."""
        return sum(backend.done for group in self.backends.values() for backend in group)

    @property
    def wasted(self) -> int:
        """How many requests were processed after their client was gone."""
        return sum(backend.wasted for group in self.backends.values() for backend in group)

    def _backend(self, host: str, number: int) -> Backend:
        def slowdown() -> float:
            return self.scenario.slowdown(self.loop.time(), host, number)

        return Backend(self.loop, self.rng, self.scenario.service, slowdown)


class SimulatedTransport(httpx.AsyncBaseTransport):
    """Send requests to a simulated service, as an `AsyncHTTPTransport` does to a real one.

    It raises httpx's own exceptions, and applies the timeouts of the request. It has no connection
    pool, no TLS and no DNS: connecting takes no time unless a fault delays it.

    Args:
        service: The service.
        quota: Limits the requests of this client.
    """

    def __init__(self, service: SimulatedService, quota: TokenBucket | None) -> None:
        self._service = service
        self._quota = quota

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`.

        Raises:
            httpx.TransportError: A fault affected it, or it took too long.
        """
        service, host = self._service, request.url.host
        now = service.loop.time()
        service.requests[int(now)] += 1
        backends = service.backends.get(host)
        if backends is None:
            raise error_for(request, httpx.ConnectError, f"{host} is not simulated:")
        number = service.rng.randrange(len(backends)) if len(backends) > 1 else 0
        fault = service.scenario.fault_of(now, host, number, service.rng)
        if fault is not None and fault.kind in BEFORE_WORK:
            return await self._reject(request, fault)
        if self._quota is not None and not self._quota.take(now):
            await asyncio.sleep(ROUND_TRIP)
            quota = service.scenario.service.quota
            return short_response(429, None if quota is None else quota.retry_after)
        job = Job(service.loop, self._latest(request, now))
        if fault is not None and fault.kind == "late":
            job.late = fault.factor - 1.0
        if not backends[number].submit(job):
            await asyncio.sleep(ROUND_TRIP)
            return short_response(503)
        await self._wait(job, request)
        return short_response(504) if job.skipped else _answer(request, fault)

    async def _reject(self, request: httpx.Request, fault: Fault) -> httpx.Response:
        if fault.kind == "blackhole":
            await asyncio.sleep(timeout_of(request, "connect"))
            raise error_for(request, httpx.ConnectTimeout, _FROM)
        await asyncio.sleep(ROUND_TRIP)
        if fault.kind == "refuse":
            raise error_for(request, httpx.ConnectError, _FROM)
        if fault.kind == "reset":
            raise error_for(request, httpx.ReadError, _FROM)
        return short_response(fault.status)

    def _latest(self, request: httpx.Request, now: float) -> float:
        name = self._service.scenario.service.deadline_header
        left = None if name is None else request.headers.get(name)
        return math.inf if left is None else now + float(left)

    async def _wait(self, job: Job, request: httpx.Request) -> None:
        seconds = timeout_of(request, "read")
        timer = None
        if seconds < math.inf:
            timer = self._service.loop.call_later(seconds, job.expire)
        try:
            in_time = await job.answered
        finally:
            if timer is not None:
                timer.cancel()
            job.abandoned = job.abandoned or job.answered.cancelled()
        if not in_time:
            raise error_for(request, httpx.ReadTimeout, _FROM)


def _answer(request: httpx.Request, fault: Fault | None) -> httpx.Response:
    """Return the result of a request that was processed in time."""
    match None if fault is None else fault.kind:
        case "lost":
            raise error_for(request, httpx.ReadError, _FROM)
        case "drip":
            return endless_response()
        case "cut":
            return cut_response(request)
        case "error" if fault is not None:
            return short_response(fault.status)
        case _:
            return short_response()


def _bucket(quota: Quota | None) -> TokenBucket | None:
    return None if quota is None else TokenBucket(quota.rate, burst=quota.burst)
