import random
from typing import Any

import pytest

from walltrack.simulation.faults import Fault
from walltrack.simulation.scenario import Callers, Latency, Quota, Scenario, Service

DOWN = Fault(kind="refuse", begins=10, ends=20)
SLOW = Fault(kind="slow", factor=3.0, begins=15, ends=30)


def scenario(*faults: Fault, **more: Any) -> Scenario:  # noqa: ANN401 - any field
    """A scenario of 60 s with these faults."""
    return Scenario(name="x", seconds=60.0, faults=faults, **more)


def test_latency_is_at_least_the_minimum_and_has_its_mean() -> None:
    """The tail is random and has no upper bound."""
    latency, rng = Latency(minimum=0.1, tail=0.3), random.Random(1)  # noqa: S311 - a model
    drawn = [latency.draw(rng) for _ in range(10_000)]
    assert min(drawn) >= 0.1
    assert sum(drawn) / len(drawn) == pytest.approx(latency.mean, rel=0.05)
    assert max(drawn) > 1.0


def test_capacity_counts_workers_backends_and_hosts() -> None:
    """Each worker serves one request after the other."""
    assert Service().capacity == pytest.approx(25.0)
    assert Service(backends=2, hosts=("a", "b", "c")).capacity == pytest.approx(150.0)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Latency(minimum=-1.0), ValueError),
        (lambda: Latency(minimum=0.0, tail=0.0), ValueError),
        (lambda: Quota(rate=0.0), ValueError),
        (lambda: Quota(rate=1.0, burst=0), ValueError),
        (lambda: Quota(rate=1.0, retry_after=-1), ValueError),
        (lambda: Service(workers=0), ValueError),
        (lambda: Service(backends=0), ValueError),
        (lambda: Service(queue=-1), ValueError),
        (lambda: Service(hosts=()), ValueError),
        (lambda: Callers(rate=0.0), ValueError),
        (lambda: Callers(clients=0), ValueError),
        (lambda: Callers(patience=0.0), ValueError),
        (lambda: Callers(timeout="long"), TypeError),  # type: ignore[arg-type]
        (lambda: Scenario(name="x", seconds=0.0), ValueError),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, error: type[Exception]) -> None:  # noqa: ANN401 - a lambda
    """The constructor rejects it."""
    with pytest.raises(error):
        make()


def test_what_may_be_unlimited_is_none() -> None:
    """Patience, timeouts, the queue and a 429's header are unlimited or absent as None."""
    assert Callers(patience=None, timeout=None).patience is None
    assert Service(queue=None).queue is None
    assert Quota(rate=1.0, retry_after=None).retry_after is None


def test_the_outage_spans_all_faults_unless_it_is_given() -> None:
    """An outage that is longer than the run ends with it."""
    assert scenario(DOWN, SLOW).outage == (10, 30)
    assert scenario(DOWN, begins=5.0, ends=40.0).outage == (5.0, 40.0)
    assert scenario().outage == (0.0, 60.0)
    assert scenario(Fault(kind="refuse", begins=10)).outage == (10, 60.0)


def test_there_is_something_to_recover_from_when_an_outage_ends() -> None:
    """There is no recovery without an outage, or if it lasts until the end."""
    assert scenario(DOWN).recovers
    assert scenario(ends=30.0).recovers
    assert not scenario().recovers
    assert not scenario(Fault(kind="refuse", begins=10)).recovers


def test_slowdowns_multiply() -> None:
    """Slowdowns that overlap multiply; other faults do not count."""
    both = scenario(SLOW, SLOW, DOWN)
    assert both.slowdown(14.0, "a", 0) == 1.0
    assert both.slowdown(15.0, "a", 0) == 9.0


def test_the_first_fault_befalls_a_request() -> None:
    """A slowdown affects the service, not single requests."""
    rng = random.Random(1)  # noqa: S311 - a model
    lost = Fault(kind="lost", begins=10, ends=20)
    assert scenario(SLOW, DOWN, lost).fault_of(16.0, "a", 0, rng) is DOWN
    assert scenario(SLOW, DOWN).fault_of(25.0, "a", 0, rng) is None


def test_a_share_of_the_requests_is_befallen() -> None:
    """The share of affected requests is about the configured one."""
    rng = random.Random(1)  # noqa: S311 - a model
    some = scenario(Fault(kind="lost", share=0.2))
    hits = sum(some.fault_of(0.0, "a", 0, rng) is not None for _ in range(10_000))
    assert hits == pytest.approx(2000, rel=0.05)
