import random
from collections import Counter
from dataclasses import replace

from walltrack.simulation.arrivals import arrivals
from walltrack.simulation.observation import Observation
from walltrack.simulation.scenario import Callers, Scenario, Service

SCENARIO = Scenario(
    name="x",
    seconds=1000.0,
    service=Service(hosts=("a.test", "b.test")),
    callers=Callers(rate=5.0, clients=4),
)


def test_calls_come_at_their_rate_spread_over_clients_and_hosts() -> None:
    """In order, and none after the end."""
    calls = list(arrivals(SCENARIO, random.Random(1)))  # noqa: S311 - a model
    assert 4800 < len(calls) < 5200
    assert [call.at for call in calls] == sorted(call.at for call in calls)
    assert calls[0].at == 0.0
    assert calls[-1].at < 1000.0
    assert all(1100 < count < 1400 for count in Counter(call.client for call in calls).values())
    assert all(2350 < count < 2650 for count in Counter(call.host for call in calls).values())


def test_the_same_seed_gives_the_same_calls() -> None:
    """And another one gives others."""
    first, again, other = (list(arrivals(SCENARIO, random.Random(seed))) for seed in (1, 1, 2))  # noqa: S311 - a model
    assert first == again != other


def test_a_record_says_when_calls_begin() -> None:
    """One call for each request that was recorded."""
    record = (Observation(0.0, 200, 0.1), Observation(7.5, 503, 0.1))
    calls = arrivals(replace(SCENARIO, record=record), random.Random(1))  # noqa: S311 - a model
    assert [call.at for call in calls] == [0.0, 7.5]
