import math
from dataclasses import replace

import pytest

from walltrack.simulation.faults import Fault
from walltrack.simulation.report import Report, Run
from walltrack.simulation.scenario import Scenario

SCENARIO = Scenario(name="x", seconds=3.0, faults=(Fault(kind="refuse", begins=1.0, ends=2.0),))
RUN = Run(
    seed=1,
    calls=10,
    success=0.8,
    during=0.5,
    after=0.9,
    oracle=1.0,
    p50=0.1,
    p99=1.0,
    p999=2.0,
    failed_after=3.0,
    load=1.2,
    peak=2.0,
    work=1.1,
    wasted=0.1,
    recovery=4.0,
    failures={"503": 2},
    hosts={"a": 0.5},
    begun=(4, 4, 2),
    succeeded=(4, 2, 2),
    requests=(4, 6, 2),
)
OTHER = replace(
    RUN,
    seed=2,
    success=0.6,
    during=math.nan,
    oracle=0.75,
    recovery=None,
    failures={"503": 1, "gave up": 3},
    hosts={"a": 0.7},
    begun=(2, 2, 2),
)
REPORT = Report(SCENARIO, (RUN, OTHER))


def test_a_figure_is_the_mean_of_the_runs_that_have_one() -> None:
    """NaN is none."""
    assert REPORT.success == pytest.approx(0.7)
    assert REPORT.during == 0.5
    assert REPORT.recovery == 4.0
    assert math.isnan(Report(SCENARIO, (OTHER,)).recovery)


@pytest.mark.parametrize(
    "name",
    ["after", "p50", "p99", "p999", "failed_after", "load", "peak", "work", "wasted"],
)
def test_every_figure_of_a_run_is_one_of_the_report(name: str) -> None:
    """Under the same name."""
    assert getattr(REPORT, name) == pytest.approx(getattr(RUN, name))


def test_the_spread_and_the_worst_show_how_runs_differ() -> None:
    """A single run has no spread."""
    assert REPORT.worst == 0.6
    assert REPORT.spread == pytest.approx(0.1414, rel=0.01)
    assert Report(SCENARIO, (RUN,)).spread == 0.0


def test_success_is_shown_as_a_share_of_what_is_possible() -> None:
    """There is none where nothing is."""
    assert REPORT.oracle == pytest.approx(0.875)
    assert REPORT.of_oracle == pytest.approx(0.8)
    assert math.isnan(Report(SCENARIO, (replace(RUN, oracle=0.0),)).of_oracle)


def test_runs_that_did_not_recover_are_counted() -> None:
    """Unless there was nothing to recover from."""
    assert REPORT.never_recovered == 1
    steady = Report(Scenario(name="x", seconds=3.0), (RUN, OTHER))
    assert steady.never_recovered == 0
    assert math.isnan(steady.recovery)


def test_failures_are_summed_and_hosts_are_means() -> None:
    """Over all runs."""
    assert REPORT.failures == {"503": 3, "gave up": 3}
    assert REPORT.hosts == {"a": pytest.approx(0.6)}


def test_timelines_are_means_by_second() -> None:
    """As long as the run."""
    assert REPORT.begun == [3.0, 3.0, 2.0]
    assert REPORT.succeeded == [4.0, 2.0, 2.0]
    assert REPORT.requests == [4.0, 6.0, 2.0]


def test_it_can_be_printed() -> None:
    """In one line, with what matters most."""
    assert str(REPORT) == (
        "x: 70.0% of the calls succeeded (80.0% of what is possible), p99 1.00 s, load 1.20, "
        "peak 2.0; well again after 4.0 s, never in 1 runs"
    )
    assert "never" not in str(Report(SCENARIO, (RUN,)))
    assert "well again" not in str(Report(Scenario(name="x", seconds=3.0), (RUN,)))
