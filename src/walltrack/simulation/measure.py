"""Make a `Run` from the calls of one run."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from walltrack.simulation.clients import Call
from walltrack.simulation.report import Run
from walltrack.simulation.scenario import Scenario
from walltrack.simulation.service import SimulatedService

_SPAN: Final = 5.0
_ENOUGH: Final = 0.99
_STEP: Final = 0.5
"""A service has recovered when this share of the calls that start in a span succeeds."""


def measured(
    seed: int, scenario: Scenario, calls: Sequence[Call], service: SimulatedService, oracle: float
) -> Run:
    """Return the results of one run.

    Args:
        seed: The seed of the run.
        scenario: What was simulated.
        calls: All calls, in the order in which they started.
        service: The service that was called.
        oracle: The share of the calls that could have succeeded.
    """
    begins, ends = scenario.outage
    during = [call for call in calls if begins <= call.began < ends]
    durations = sorted(call.seconds for call in calls if call.failure is None)
    failed = [call for call in calls if call.failure is not None]
    return Run(
        seed=seed,
        calls=len(calls),
        success=_success(calls),
        during=_success(during),
        after=_success([call for call in calls if call.began >= ends]),
        oracle=oracle,
        p50=_quantile(durations, 0.5),
        p99=_quantile(durations, 0.99),
        p999=_quantile(durations, 0.999),
        failed_after=statistics.fmean(c.seconds for c in failed) if failed else math.nan,
        load=service.requests.total() / len(calls),
        peak=max(service.requests.values(), default=0) / scenario.callers.rate,
        work=service.done / len(calls),
        wasted=service.wasted / len(calls),
        recovery=_recovery(calls, scenario),
        failures=dict(Counter(call.failure for call in failed if call.failure is not None)),
        hosts={
            host: _success([call for call in during if call.host == host])
            for host in scenario.service.hosts
        },
        begun=_by_second(Counter(int(call.began) for call in calls), scenario),
        succeeded=_by_second(
            Counter(int(call.began) for call in calls if call.failure is None), scenario
        ),
        requests=_by_second(service.requests, scenario),
    )


def _success(calls: Sequence[Call]) -> float:
    return sum(call.failure is None for call in calls) / len(calls) if calls else math.nan


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else math.nan


def _by_second(counts: Mapping[int, int], scenario: Scenario) -> tuple[int, ...]:
    return tuple(counts.get(second, 0) for second in range(math.ceil(scenario.seconds)))


def _recovery(calls: Sequence[Call], scenario: Scenario) -> float | None:
    _, ends = scenario.outage
    begin = ends
    while begin + _SPAN <= scenario.seconds:
        seen = [call for call in calls if begin <= call.began < begin + _SPAN]
        if seen and _success(seen) >= _ENOUGH:
            return begin - ends
        begin += _STEP
    return None
