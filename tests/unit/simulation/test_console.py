import importlib
import io
import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.unit.simulation.test_report import OTHER, REPORT, RUN, SCENARIO
from walltrack.simulation import console as module
from walltrack.simulation.console import output, overview, progress_bar, table_of
from walltrack.simulation.report import Report
from walltrack.simulation.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping


def shown(table: object) -> str:
    """What a wide terminal shows."""
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells(table: object, name: str) -> list[str]:
    """The row of a table that begins with a name."""
    (row,) = (line for line in shown(table).splitlines() if line.strip().startswith(name))
    return row.strip().removeprefix(name).split()


def row_of(report: Report) -> list[str]:
    """The row of a report."""
    return cells(table_of(report.scenario, {"mine": report}), "mine")


def test_a_table_has_a_row_for_each_stack() -> None:
    """With its figures, in percent, seconds and multiples."""
    steady = Report(Scenario(name="x", title="a day", seconds=3.0), (RUN,))
    table = table_of(SCENARIO, {"mine": REPORT, "yours": steady})
    row = "70.0 80.0 50.0 0.10 1.00 3.00 1.20 2.0 0.10 4.0 (never in 1)"
    assert cells(table, "mine") == row.split()
    assert cells(table, "yours")[-1] == "-"


def test_what_is_not_known_is_a_dash_and_what_never_happened_is_never() -> None:
    """NaN says nothing to a reader."""
    lost = replace(RUN, success=1.0, failed_after=math.nan, recovery=None)
    assert row_of(Report(SCENARIO, (lost,)))[5] == "-"
    assert row_of(Report(SCENARIO, (lost,)))[-1] == "never"
    assert row_of(Report(SCENARIO, (RUN,)))[-1] == "4.0"


def test_an_overview_has_a_row_for_each_scenario_and_the_means() -> None:
    """And what was possible."""
    results: list[Mapping[str, Report]] = [
        {"mine": REPORT, "yours": Report(SCENARIO, (RUN,))},
        {
            "mine": Report(replace(SCENARIO, name="y"), (OTHER,)),
            "yours": Report(replace(SCENARIO, name="y"), (RUN,)),
        },
    ]
    table = overview(results)
    assert cells(table, "x") == ["70.0", "80.0", "87.5"]
    assert cells(table, "y") == ["60.0", "80.0", "75.0"]
    assert cells(table, "mean") == ["65.0", "80.0", "81.2"]


def test_an_overview_of_many_stacks_has_a_row_for_each_of_them() -> None:
    """Their names would not fit into one line."""
    names = [f"a stack with a long name, number {number}" for number in range(5)]
    table = overview([dict.fromkeys(names, REPORT)])
    assert cells(table, names[3]) == ["70.0", "70.0"]
    assert cells(table, "possible") == ["87.5", "87.5"]
    assert cells(table, "stack") == ["x", "mean"]


def test_a_file_gets_lines_of_a_fixed_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal has its own width."""
    assert output().width == 160
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "77")
    assert output(stderr=True).width == 77
    assert output(stderr=True).stderr


@pytest.mark.parametrize(("terminal", "seen"), [(True, True), (False, False)])
def test_progress_is_shown_in_a_terminal_alone(*, terminal: bool, seen: bool) -> None:
    """A log file needs no bar."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with progress_bar(console, 2) as advance:
        advance()
        advance()
    assert isinstance(console.file, io.StringIO)
    assert ("simulating" in console.file.getvalue()) is seen


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ImportError, match=r"pip install 'walltrack\[simulation\]'"):
        importlib.reload(module)
    monkeypatch.undo()
    importlib.reload(module)
