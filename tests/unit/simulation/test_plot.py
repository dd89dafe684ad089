import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.simulation.test_report import OTHER, REPORT, RUN, SCENARIO
from walltrack.simulation import plot as module
from walltrack.simulation.plot import save
from walltrack.simulation.report import Report
from walltrack.simulation.scenario import Scenario

REPORTS = {"mine": REPORT, "yours": Report(SCENARIO, (RUN, OTHER))}


def test_a_picture_has_a_line_for_each_stack(tmp_path: Path) -> None:
    """And the same reports give the same file."""
    first, again = tmp_path / "first.svg", tmp_path / "again.svg"
    save(REPORTS, first)
    save(REPORTS, again)
    assert first.read_text(encoding="utf-8") == again.read_text(encoding="utf-8")
    save({"mine": REPORT}, again)
    assert first.read_text(encoding="utf-8").count("<path") > again.read_text(
        encoding="utf-8"
    ).count("<path")


def test_the_suffix_says_which_format(tmp_path: Path) -> None:
    """More stacks than colours are no problem, and neither is a second without calls."""
    path = tmp_path / "x.png"
    silent = Report(Scenario(name="x", seconds=3.0), (replace(RUN, begun=(0, 0, 0)),))
    save({str(number): silent for number in range(8)}, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    """Nothing, or in a format that there is not."""
    with pytest.raises(ValueError, match="at least one report"):
        save({}, tmp_path / "x.png")
    with pytest.raises(ValueError, match="not supported"):
        save(REPORTS, tmp_path / "x.doc")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'walltrack\[simulation\]'"):
        importlib.reload(module)
    monkeypatch.undo()
    importlib.reload(module)
