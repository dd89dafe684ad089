import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from walltrack.simulation.clients import GAVE_UP, Call
from walltrack.simulation.faults import Fault
from walltrack.simulation.measure import measured
from walltrack.simulation.report import Run
from walltrack.simulation.scenario import Callers, Scenario, Service
from walltrack.simulation.service import SimulatedService

DOWN = Fault(kind="refuse", begins=10.0, ends=20.0)


def call(began: float, seconds: float = 1.0, failure: str | None = None, host: str = "a") -> Call:
    """A call that ended."""
    return Call(began, host, began + seconds, failure)


def run_of(calls: Sequence[Call], *faults: Fault, requests: Any = ()) -> Run:  # noqa: ANN401 - any counts
    """What is measured of these calls."""
    scenario = Scenario(
        name="x",
        seconds=60.0,
        service=Service(hosts=("a", "b")),
        callers=Callers(rate=2.0),
        faults=faults,
    )
    loop = asyncio.new_event_loop()
    try:
        service = SimulatedService(scenario, random.Random(1), loop)  # noqa: S311 - a model
    finally:
        loop.close()
    service.requests = Counter(requests)
    service.backends["a"][0].done, service.backends["b"][0].done = 6, 2
    service.backends["a"][0].wasted = 4
    return measured(7, scenario, calls, service, oracle=0.9)


def test_success_is_measured_by_time_and_by_host() -> None:
    """Before, during and after the outage, by when a call began."""
    calls = [
        call(5.0),
        call(10.0, failure="503"),
        call(19.9, host="b"),
        call(20.0),
        call(30.0, failure=GAVE_UP),
    ]
    run = run_of(calls, DOWN)
    assert (run.seed, run.calls, run.oracle) == (7, 5, 0.9)
    assert run.success == pytest.approx(3 / 5)
    assert run.during == pytest.approx(1 / 2)
    assert run.after == pytest.approx(1 / 2)
    assert run.hosts == {"a": 0.0, "b": 1.0}
    assert run.failures == {"503": 1, GAVE_UP: 1}


def test_durations_are_those_of_successes() -> None:
    """How long failures took is a figure of its own."""
    calls = [call(0.0, seconds=float(n)) for n in range(1, 1001)]
    calls += [call(0.0, 20.0, "503"), call(0.0, 40.0, "503")]
    run = run_of(calls)
    assert (run.p50, run.p99, run.p999) == (501.0, 991.0, 1000.0)
    assert run.failed_after == 30.0


def test_load_and_work_are_per_call() -> None:
    """The peak is the worst second, in multiples of the rate of calls."""
    calls = [call(0.0), call(1.2), call(1.3, failure="503"), call(2.0)]
    run = run_of(calls, requests={0: 1, 1: 7, 2: 2})
    assert (run.load, run.peak, run.work, run.wasted) == (2.5, 3.5, 2.0, 1.0)
    assert run.begun[:4] == (1, 2, 1, 0)
    assert run.succeeded[:4] == (1, 1, 1, 0)
    assert run.requests[:4] == (1, 7, 2, 0)
    assert len(run.begun) == len(run.succeeded) == len(run.requests) == 60


def test_what_does_not_exist_is_nan() -> None:
    """No success has no duration, and no outage no calls in it."""
    run = run_of([call(5.0, failure="503")], DOWN)
    assert all(math.isnan(v) for v in (run.p50, run.p99, run.during, run.after, run.hosts["a"]))
    assert math.isnan(run_of([call(5.0)]).failed_after)
    assert run_of([call(5.0)], requests={}).peak == 0.0


def test_recovery_is_when_99_percent_succeed_for_five_seconds() -> None:
    """Counted from the end of the outage, in steps of half a second."""
    calls = [call(at / 10, failure="503" if at < 237 else None) for at in range(600)]
    assert run_of(calls, DOWN).recovery == 4.0
    assert run_of([call(float(at)) for at in range(60)], DOWN).recovery == 0.0
    assert run_of([call(at / 10, failure="503") for at in range(600)], DOWN).recovery is None


def test_silence_is_no_recovery() -> None:
    """Without calls nothing is known."""
    assert run_of([call(5.0)], DOWN).recovery is None
