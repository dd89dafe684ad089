"""Draw success and load over time to a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from walltrack.simulation.report import Report

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as _error:
    raise ImportError(
        "matplotlib, which draws, is not installed: pip install 'walltrack[simulation]'"
    ) from _error

_INCHES: Final = (8.4, 5.4)
_COLOURS: Final = ("0.55", "tab:red", "tab:blue", "tab:orange", "tab:purple", "tab:brown")


def save(reports: Mapping[str, Report], path: Path | str) -> None:
    """Draw how several stacks behaved in one scenario.

    The upper half shows the share of the calls started at a time that succeeded; the lower half
    shows the requests that the service received. The outage is grey.

    Args:
        reports: The reports, by the names of the stacks.
        path: The file; its suffix decides the format, such as .png or .svg.

    Raises:
        ValueError: There are no reports, or the format is unknown.
    """
    if not reports:
        raise ValueError("reports must have at least one report")
    scenario = next(iter(reports.values())).scenario
    figure = Figure(figsize=_INCHES, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axes in (upper, lower):
        axes.axvspan(*scenario.outage, color="0.93", zorder=0)
        axes.grid(alpha=0.3)
        axes.margins(x=0.0)
    for number, (name, report) in enumerate(reports.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        _draw(upper, lower, report, f"{name}: {100 * report.success:.1f} %", colour)
    upper.set_title(scenario.title or scenario.name, fontsize=10)
    upper.set_ylabel("% of the calls begun\nthen that succeed")
    upper.set_ylim(-3, 103)
    lower.set_ylabel("requests a second")
    lower.set_ylim(bottom=0)
    lower.set_xlabel("seconds")
    lines = upper.get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    # Without random names and dates, the same reports give the same file.
    with mpl.rc_context({"svg.hashsalt": "walltrack"}):
        metadata = {"Date": None} if Path(path).suffix == ".svg" else None
        figure.savefig(path, dpi=110, metadata=metadata)


def _draw(upper: Axes, lower: Axes, report: Report, label: str, colour: str) -> None:
    begun, succeeded = _smooth(report.begun), _smooth(report.succeeded)
    shares = [100 * s / b if b else 0.0 for b, s in zip(begun, succeeded, strict=True)]
    moments = [second + 0.5 for second in range(len(shares))]
    upper.plot(moments, shares, color=colour, label=label, linewidth=1.5)
    lower.plot(moments, _smooth(report.requests), color=colour, linewidth=1.2)


def _smooth(values: Sequence[float]) -> list[float]:
    """Return moving means over three seconds, centred on each value."""
    spans = [values[max(second - 1, 0) : second + 2] for second in range(len(values))]
    return [sum(span) / len(span) for span in spans]
