"""The simulated service, and the httpx transport that leads to it."""

import asyncio
import math
from collections import Counter
from random import Random
from typing import Final, NoReturn

import httpx

from walltrack.core.delivery import Delivery
from walltrack.core.extensions import DELIVERY
from walltrack.rate_limit.token_bucket import TokenBucket
from walltrack.simulation.backend import Backend, Job
from walltrack.simulation.bodies import CONTENT, Body, CutBody, EndlessBody
from walltrack.simulation.scenario import BEFORE_WORK, Fault, Quota, Scenario

ROUND_TRIP: Final = 0.002
"""Seconds until a refusal, or an answer without any work, reaches the client."""

_OK: Final = 200
_HEADERS: Final = httpx.Headers({"content-length": str(len(CONTENT))})
_ENDLESS: Final = httpx.Headers({"content-length": "1000000"})


class SimulatedService:
    """All backends of a scenario, and what is counted at them.

    Args:
        scenario: What happens.
        rng: Source of all chances.
        loop: The event loop, whose time it is.
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
        """Return the way of one client to the service; it takes the place of an HTTPTransport."""
        quota = self.scenario.service.quota
        own = quota is not None and quota.per_client
        return SimulatedTransport(self, _bucket(quota) if own else self._shared)

    @property
    def done(self) -> int:
        """How many requests were worked on."""
        return sum(backend.done for group in self.backends.values() for backend in group)

    @property
    def wasted(self) -> int:
        """How many were worked on after their client was gone."""
        return sum(backend.wasted for group in self.backends.values() for backend in group)

    def _backend(self, host: str, number: int) -> Backend:
        def slowdown() -> float:
            return self.scenario.slowdown(self.loop.time(), host, number)

        return Backend(self.loop, self.rng, self.scenario.service, slowdown)


class SimulatedTransport(httpx.AsyncBaseTransport):
    """Sends requests to a simulated service, as an `AsyncHTTPTransport` does to a real one.

    It raises httpx's own exceptions and honours the timeouts of the request. It has no connection
    pool, no TLS and no DNS: connecting takes no time unless a fault says so.

    Args:
        service: The service.
        quota: What limits the requests of this client.
    """

    def __init__(self, service: SimulatedService, quota: TokenBucket | None) -> None:
        self._service = service
        self._quota = quota

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`.

        Raises:
            httpx.TransportError: A fault befell it, or it took too long.
        """
        service, host = self._service, request.url.host
        now = service.loop.time()
        service.requests[int(now)] += 1
        backends = service.backends.get(host)
        if backends is None:
            _not_sent(request, httpx.ConnectError(f"name not known: {host}", request=request))
        number = service.rng.randrange(len(backends)) if len(backends) > 1 else 0
        fault = service.scenario.fault_of(now, host, number, service.rng)
        if fault is not None and fault.kind in BEFORE_WORK:
            return await self._reject(request, fault)
        if self._quota is not None and not self._quota.take(now):
            return await self._over_quota()
        job = Job(service.loop, self._latest(request, now))
        if fault is not None and fault.kind == "late":
            job.late = fault.factor - 1.0
        if not backends[number].submit(job):
            await asyncio.sleep(ROUND_TRIP)
            return httpx.Response(503, headers=_HEADERS, stream=Body())
        await self._wait(job, request)
        return _answer(request, fault, job)

    async def _reject(self, request: httpx.Request, fault: Fault) -> httpx.Response:
        if fault.kind == "blackhole":
            seconds = _timeout(request, "connect")
            await asyncio.sleep(seconds)
            _not_sent(request, httpx.ConnectTimeout("connection timed out", request=request))
        await asyncio.sleep(ROUND_TRIP)
        if fault.kind == "refuse":
            _not_sent(request, httpx.ConnectError("connection refused", request=request))
        if fault.kind == "reset":
            raise httpx.ReadError("connection reset", request=request)
        return httpx.Response(fault.status, headers=_HEADERS, stream=Body())

    async def _over_quota(self) -> httpx.Response:
        await asyncio.sleep(ROUND_TRIP)
        quota = self._service.scenario.service.quota
        headers = _HEADERS.copy()
        if quota is not None and quota.retry_after is not None:
            headers["retry-after"] = str(quota.retry_after)
        return httpx.Response(429, headers=headers, stream=Body())

    def _latest(self, request: httpx.Request, now: float) -> float:
        name = self._service.scenario.service.deadline_header
        left = request.headers.get(name) if name is not None else None
        return math.inf if left is None else now + float(left)

    async def _wait(self, job: Job, request: httpx.Request) -> None:
        seconds = _timeout(request, "read")
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
            raise httpx.ReadTimeout("timed out", request=request)


def _answer(request: httpx.Request, fault: Fault | None, job: Job) -> httpx.Response:
    if job.skipped:
        return httpx.Response(504, headers=_HEADERS, stream=Body())
    kind = None if fault is None else fault.kind
    if kind == "lost":
        raise httpx.ReadError("connection reset", request=request)
    if kind == "drip":
        return httpx.Response(_OK, headers=_ENDLESS, stream=EndlessBody())
    if kind == "cut":
        return httpx.Response(_OK, headers=_HEADERS, stream=CutBody(request))
    status = fault.status if fault is not None and kind == "error" else _OK
    return httpx.Response(status, headers=_HEADERS, stream=Body())


def _not_sent(request: httpx.Request, error: httpx.TransportError) -> NoReturn:
    """Raise `error`, and state that the request did not reach the service, as httpcore would."""
    request.extensions[DELIVERY] = Delivery.NOT_SENT
    raise error


def _timeout(request: httpx.Request, name: str) -> float:
    seconds = request.extensions.get("timeout", {}).get(name)
    return math.inf if seconds is None else seconds


def _bucket(quota: Quota | None) -> TokenBucket | None:
    return None if quota is None else TokenBucket(quota.rate, burst=quota.burst)
