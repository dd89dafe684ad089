"""The upper bound of a scenario: how many calls could succeed if the future were known.

A dispatcher with perfect knowledge holds the calls of all clients. It passes a call to the service
only while the service accepts requests, in the best order (the call whose caller gives up first).
It drops a call as soon as the call cannot succeed, and repeats a failed request as long as there is
time. So no worker is idle while a call waits, and no work is wasted. No client can do this, and
none can be better, except by chance.

A random fault after the work costs the oracle that work. A fault before the work, or a slow
response, costs it nothing. Neither the timeouts of httpx nor the length of a queue limit it.
"""

import heapq
import itertools
import math
from collections.abc import Iterable
from random import Random
from typing import Final

from walltrack.rate_limit.token_bucket import TokenBucket
from walltrack.simulation.arrivals import Arrival
from walltrack.simulation.faults import AFTER_WORK
from walltrack.simulation.observation import observed_between
from walltrack.simulation.scenario import Scenario

Waiting = tuple[float, int, Arrival]
"""When the caller gives up, a number that makes entries unique, and the call."""

_SOON: Final = 1e-9  # seconds; smaller differences are rounding errors


def most_successes(scenario: Scenario, expected: Iterable[Arrival], rng: Random) -> int:
    """Return how many of the expected calls succeed with perfect knowledge.

    Args:
        scenario: What is simulated.
        expected: The calls.
        rng: Source of durations and faults.
    """
    if scenario.record:
        return sum(_is_possible(scenario, arrival) for arrival in expected)
    return _Oracle(scenario, rng).run(expected)


def _is_possible(scenario: Scenario, arrival: Arrival) -> bool:
    """Return whether a recorded request succeeded in time at any moment of a call."""
    last = arrival.at + (scenario.callers.patience or math.inf)
    return any(
        observation.succeeded and observation.at + observation.seconds <= last
        for observation in observed_between(scenario.record, arrival.at, last)
    )


class _Oracle:
    def __init__(self, scenario: Scenario, rng: Random) -> None:
        service, quota = scenario.service, scenario.service.quota
        self._scenario = scenario
        self._rng = rng
        certain = [fault for fault in scenario.faults if fault.share == 1.0]
        self._certain = [fault for fault in certain if fault.kind not in {"slow", "late"}]
        self._slowing = [
            fault
            for fault in scenario.faults
            if fault.kind == "slow" or (fault.kind == "late" and fault in certain)
        ]
        self._random = [
            fault for fault in scenario.faults if fault.kind in AFTER_WORK and fault not in certain
        ]
        self._latency = service.latency
        own = quota is not None and quota.per_client
        self._lines = [
            _Line(
                TokenBucket(None) if quota is None else TokenBucket(quota.rate, burst=quota.burst)
            )
            for _ in range(scenario.callers.clients if own else 1)
        ]
        self._accepted: dict[str, list[Waiting]] = {host: [] for host in service.hosts}
        self._free: dict[str, list[int]] = {
            host: [service.workers] * service.backends for host in service.hosts
        }
        self._events: list[tuple[float, int, Waiting | None, tuple[str, int] | None]] = []
        self._count = itertools.count()
        self._successes = 0

    def run(self, expected: Iterable[Arrival]) -> int:
        patience = self._scenario.callers.patience or math.inf
        for arrival in expected:
            self._at(arrival.at, call=(arrival.at + patience, next(self._count), arrival))
        for fault in self._scenario.faults:
            self._at(fault.ends)
        while self._events:
            now = self._events[0][0]
            while self._events and self._events[0][0] == now:
                _, _, call, place = heapq.heappop(self._events)
                if place is not None:
                    self._free[place[0]][place[1]] += 1
                if call is not None:
                    line = self._lines[call[2].client % len(self._lines)]
                    heapq.heappush(line.waiting.setdefault(call[2].host, []), call)
            for line in self._lines:
                self._accept(now, line)
            for host in self._accepted:
                self._begin(now, host)
        return self._successes

    def _at(
        self, at: float, call: Waiting | None = None, place: tuple[str, int] | None = None
    ) -> None:
        """At a time, have a call wait to be accepted, a worker become free, or only look again."""
        if at < math.inf:
            heapq.heappush(self._events, (at, next(self._count), call, place))

    def _accept(self, now: float, line: "_Line") -> None:
        """Hand in the calls of a queue that the service accepts now."""
        for host, waiting in line.waiting.items():
            while waiting and self._is_up(now, host):
                if self._too_late(now, waiting[0], host):
                    heapq.heappop(waiting)
                elif (wait := line.bucket.opens_in(now)) <= _SOON:
                    line.bucket.take(now)
                    heapq.heappush(self._accepted[host], heapq.heappop(waiting))
                else:
                    if line.looks_again <= now:
                        line.looks_again = now + wait
                        self._at(line.looks_again)
                    break

    def _is_up(self, now: float, host: str) -> bool:
        """Return whether any backend of a host accepts requests and answers them correctly."""
        return any(
            not any(fault.befalls(now, host, number) for fault in self._certain)
            for number in range(len(self._free[host]))
        )

    def _begin(self, now: float, host: str) -> None:
        """Let the free workers of a host start with the calls that it accepted."""
        accepted, free, slowdown = self._accepted[host], self._free[host], self._scenario.slowdown
        while accepted and any(free):
            number = min(
                (number for number, count in enumerate(free) if count),
                key=lambda number: slowdown(now, host, number),
            )
            call = heapq.heappop(accepted)
            if now + self._expected(now, host, number) > call[0]:
                if self._too_late(now, call, host):
                    continue
                heapq.heappush(accepted, call)  # for a faster worker, when there is one
                break
            free[number] -= 1
            ends = now + self._latency.draw(self._rng) * slowdown(now, host, number)
            if self._fails(now, host, number):
                self._at(ends, call, (host, number))
            else:
                self._successes += 1
                self._at(ends, place=(host, number))

    def _too_late(self, now: float, call: Waiting, host: str) -> bool:
        """Return whether a call is not expected to succeed, whichever backend starts it now."""
        backends = range(len(self._free[host]))
        return all(now + self._expected(now, host, number) > call[0] for number in backends)

    def _expected(self, now: float, host: str, number: int) -> float:
        """Return the mean seconds until the response, if a backend starts now."""
        factors = (fault.factor for fault in self._slowing if fault.befalls(now, host, number))
        return self._latency.mean * math.prod(factors)

    def _fails(self, now: float, host: str, number: int) -> bool:
        """Return whether a random fault affects a request once it is processed."""
        return any(
            fault.befalls(now, host, number) and self._rng.random() < fault.share
            for fault in self._random
        )


class _Line:
    """The calls that wait to be accepted, by host, under one quota."""

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.waiting: dict[str, list[Waiting]] = {}
        self.looks_again = -math.inf
