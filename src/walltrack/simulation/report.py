"""The results of a simulation: how many calls succeeded, how fast, and at what load."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from walltrack.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a scenario, by one seed. Shares are from 0 to 1, times in seconds.

    Args:
        seed: The seed.
        calls: How many calls were made.
        success: The share of the calls that succeeded: with a status below 400, in time.
        during: The same for the calls that started during the outage; NaN if there were none.
        after: The same for the calls that started after the outage; NaN if there were none.
        oracle: The share that could have succeeded with perfect knowledge.
        p50: Median duration of a successful call; NaN if there was none.
        p99: 99th percentile of these durations.
        p999: 99.9th percentile of these durations.
        failed_after: Mean duration of a failed call; NaN if none failed.
        load: Requests sent to the service per call.
        peak: The most requests that were sent in a second, in multiples of the calls per second.
        work: Requests that the service processed, per call.
        wasted: Requests that it processed after their client was gone, per call.
        recovery: Seconds from the end of the outage until recovery: 99 % of the calls that start in
            the next 5 s succeed. None: there was no recovery in the run.
        failures: How failed calls ended, and how often: a status, an exception, or "gave up".
        hosts: The share of successes by host, for the calls that started during the outage.
        begun: Calls that started, by second.
        succeeded: Those of them that succeeded, by the second in which they started.
        requests: Requests sent to the service, by second.
    """

    seed: int
    calls: int
    success: float
    during: float
    after: float
    oracle: float
    p50: float
    p99: float
    p999: float
    failed_after: float
    load: float
    peak: float
    work: float
    wasted: float
    recovery: float | None
    failures: dict[str, int]
    hosts: dict[str, float]
    begun: tuple[int, ...]
    succeeded: tuple[int, ...]
    requests: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The runs of one stack in one scenario, and the means of their results.

    Args:
        scenario: What was simulated.
        runs: The runs, one for each seed.
    """

    scenario: Scenario
    runs: tuple[Run, ...]

    @property
    def success(self) -> float:
        """The share of the calls that succeeded."""
        return self._mean(lambda run: run.success)

    @property
    def worst(self) -> float:
        """The same in the worst run."""
        return min(run.success for run in self.runs)

    @property
    def spread(self) -> float:
        """The standard deviation of that share over the runs; 0 if there is only one."""
        shares = [run.success for run in self.runs]
        return statistics.stdev(shares) if len(shares) > 1 else 0.0

    @property
    def during(self) -> float:
        """The share of successes among the calls that started during the outage."""
        return self._mean(lambda run: run.during)

    @property
    def after(self) -> float:
        """The share of successes among the calls that started after the outage."""
        return self._mean(lambda run: run.after)

    @property
    def oracle(self) -> float:
        """The share of the calls that could have succeeded with perfect knowledge."""
        return self._mean(lambda run: run.oracle)

    @property
    def of_oracle(self) -> float:
        """The success as a share of what could have succeeded."""
        return self.success / self.oracle if self.oracle else math.nan

    @property
    def p50(self) -> float:
        """Median duration of a successful call, in seconds."""
        return self._mean(lambda run: run.p50)

    @property
    def p99(self) -> float:
        """99th percentile of the durations of successes, in seconds."""
        return self._mean(lambda run: run.p99)

    @property
    def p999(self) -> float:
        """99.9th percentile of the durations of successes, in seconds."""
        return self._mean(lambda run: run.p999)

    @property
    def failed_after(self) -> float:
        """Mean duration of a failed call, in seconds; NaN if none failed."""
        return self._mean(lambda run: run.failed_after)

    @property
    def load(self) -> float:
        """Requests sent to the service per call."""
        return self._mean(lambda run: run.load)

    @property
    def peak(self) -> float:
        """The most requests that were sent in a second, in multiples of the calls per second."""
        return self._mean(lambda run: run.peak)

    @property
    def work(self) -> float:
        """Requests that the service processed, per call."""
        return self._mean(lambda run: run.work)

    @property
    def wasted(self) -> float:
        """Requests that it processed after their client was gone, per call."""
        return self._mean(lambda run: run.wasted)

    @property
    def recovery(self) -> float:
        """Mean seconds until recovery, over the runs that recovered; NaN if none did."""
        if not self.scenario.recovers:
            return math.nan
        return self._mean(lambda run: math.nan if run.recovery is None else run.recovery)

    @property
    def never_recovered(self) -> int:
        """How many runs did not recover, if the scenario allows recovery."""
        lost = sum(run.recovery is None for run in self.runs)
        return lost if self.scenario.recovers else 0

    @property
    def failures(self) -> Counter[str]:
        """How failed calls ended in all runs, and how often."""
        total: Counter[str] = Counter()
        for run in self.runs:
            total.update(run.failures)
        return total

    @property
    def hosts(self) -> dict[str, float]:
        """The share of successes by host, for the calls that started during the outage."""
        names = self.runs[0].hosts
        return {name: _mean(run.hosts[name] for run in self.runs) for name in names}

    @property
    def begun(self) -> list[float]:
        """Calls that started, by second: the mean of the runs."""
        return self._timeline([run.begun for run in self.runs])

    @property
    def succeeded(self) -> list[float]:
        """Calls that succeeded, by the second in which they started: the mean of the runs."""
        return self._timeline([run.succeeded for run in self.runs])

    @property
    def requests(self) -> list[float]:
        """Requests sent to the service, by second: the mean of the runs."""
        return self._timeline([run.requests for run in self.runs])

    def __str__(self) -> str:
        recovery = ""
        if self.scenario.recovers:
            never = f", never in {self.never_recovered} runs" if self.never_recovered else ""
            recovery = f"; well again after {self.recovery:.1f} s{never}"
        return (
            f"{self.scenario.name}: {self.success:.1%} of the calls succeeded "
            f"({self.of_oracle:.1%} of what is possible), p99 {self.p99:.2f} s, "
            f"load {self.load:.2f}, peak {self.peak:.1f}{recovery}"
        )

    def _mean(self, value: Callable[[Run], float]) -> float:
        return _mean(value(run) for run in self.runs)

    def _timeline(self, series: Sequence[Sequence[int]]) -> list[float]:
        return [sum(second) / len(series) for second in zip(*series, strict=True)]


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan
