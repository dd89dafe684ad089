"""Show results and progress in a terminal."""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from walltrack.simulation.report import Report
from walltrack.simulation.scenario import Scenario

try:
    from rich import box
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table
except ImportError as _error:
    raise ImportError(
        "rich, which shows the results, is not installed: pip install 'walltrack[simulation]'"
    ) from _error

_COLUMNS: Final = (
    "success %",
    "of possible %",
    "in outage %",
    "p50 s",
    "p99 s",
    "failed after s",
    "load",
    "peak",
    "wasted",
    "well after s",
)
_WIDTH: Final = 110
"""Characters per line; a terminal may have more."""


def output(*, stderr: bool = False) -> Console:
    """Return the console for results, or for progress."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_FILE_WIDTH)


_FILE_WIDTH: Final = 160
"""The same for output to a file."""


@contextmanager
def progress_bar(console: Console, steps: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar while the block runs; yield a function that advances it by one step."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("simulating", total=steps)
        yield lambda: progress.advance(task)


def table_of(scenario: Scenario, reports: Mapping[str, Report]) -> Table:
    """Return a table that compares stacks in one scenario."""
    table = _table(f"{scenario.name}: {scenario.title}")
    table.add_column("stack", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", min_width=max(map(len, column.split())))
    for name, report in reports.items():
        table.add_row(
            name,
            _number(100 * report.success, 1),
            _number(100 * report.of_oracle, 1),
            _number(100 * report.during, 1),
            _number(report.p50, 2),
            _number(report.p99, 2),
            _number(report.failed_after, 2),
            _number(report.load, 2),
            _number(report.peak, 1),
            _number(report.wasted, 2),
            _recovery(report),
        )
    return table


def overview(results: Sequence[Mapping[str, Report]]) -> Table:
    """Return a table of the success of several stacks in all scenarios, with the means.

    It has a row for each scenario, or for each stack if there are too many stacks for columns.
    """
    table = _table("success in % of all calls")
    reports = [next(iter(of_scenario.values())) for of_scenario in results]
    columns = {
        stack: [of_scenario[stack].success for of_scenario in results] for stack in results[0]
    } | {"possible": [report.oracle for report in reports]}
    names = [*(report.scenario.name for report in reports), "mean"]
    cells = {
        stack: [_number(100 * share, 1) for share in (*shares, statistics.fmean(shares))]
        for stack, shares in columns.items()
    }
    rows: Iterable[tuple[str, ...]] = zip(names, *cells.values(), strict=True)
    heads = ["scenario", *cells]
    if sum(len(head) + 2 for head in heads) > _WIDTH:
        rows = [(stack, *values) for stack, values in cells.items()]
        heads = ["stack", *names]
    for head in heads:
        table.add_column(head, justify="left" if head == heads[0] else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _recovery(report: Report) -> str:
    never = report.never_recovered
    if never == len(report.runs):
        return "never"
    return _number(report.recovery, 1) + (f" (never in {never})" if never else "")
