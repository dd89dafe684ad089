"""When calls start, by which client, and to which host."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from walltrack.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call to be made.

    Args:
        at: When it starts, in seconds into the run.
        client: The number of the client that makes it, from 0.
        host: The host that it is sent to.
    """

    at: float
    client: int
    host: str


def arrivals(scenario: Scenario, rng: Random) -> Iterator[Arrival]:
    """Return the calls of a run in order: at random moments, by random clients, to random hosts."""
    callers, hosts = scenario.callers, scenario.service.hosts
    for observation in scenario.record:
        yield Arrival(observation.at, rng.randrange(callers.clients), rng.choice(hosts))
    at = math.inf if scenario.record else 0.0
    while at < scenario.seconds:
        yield Arrival(at, rng.randrange(callers.clients), rng.choice(hosts))
        at += rng.expovariate(callers.rate)
