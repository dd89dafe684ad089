import importlib
import multiprocessing
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from walltrack.simulation import command
from walltrack.simulation.command import main
from walltrack.simulation.stacks import naive


class Stacks:
    """Stacks in a namespace."""

    mine = staticmethod(naive)
    number = 5


def client(inner: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    """A whole client."""
    return httpx.AsyncClient(transport=inner)


SCENARIO = """
title = "a short day"
seconds = 6
callers = {rate = 10, clients = 2}
fault = [{kind = "refuse", begins = 2, ends = 4}]
"""
QUICK = ("--seeds", "1", "--processes", "1")


pytestmark = pytest.mark.usefixtures("_logging_as_before")


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file with a scenario."""
    path = tmp_path / "day.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    return str(path)


def rows(text: str, *names: str) -> list[str]:
    """The lines of a table that begin with these names, in order."""
    lines = [line.strip() for line in text.splitlines()]
    return [name for line in lines for name in names if line.startswith(name)]


def test_a_stack_is_shown_next_to_the_others(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a table for each scenario."""
    mine, whole = f"{__name__}:Stacks.mine", f"{__name__}:client"
    main([file, "--stack", mine, "--stack", whole, *QUICK])
    printed = capsys.readouterr().out
    assert "day: a short day" in printed
    names = ("bare httpx", "naive retry loop", "resilient_transport()", mine, whole)
    assert rows(printed, *names) == list(names)
    assert "success in % of all calls" not in printed


def test_several_scenarios_end_with_an_overview(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one stack, when it is alone."""
    main([file, file, "--alone", "--stack", f"{__name__}:client", *QUICK])
    printed = capsys.readouterr().out
    assert rows(printed, "day:") == ["day:"] * 2
    assert "success in % of all calls" in printed
    assert "bare httpx" not in printed


def test_callers_can_be_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For any scenario, and a kind of outage takes its length."""
    seen: list[object] = []

    def fake(_: object, scenarios: Sequence[object], **__: object) -> list[dict[str, object]]:
        seen.extend(scenarios)
        return []

    monkeypatch.setattr(command, "sweep", fake)
    monkeypatch.setattr(command, "overview", lambda _: "an overview")
    options = "--seconds 25 --rate 7 --clients 3 --patience inf --announced --method POST"
    with pytest.raises(ValueError, match="zip"):
        main(["blackout", *options.split()])
    (scenario,) = seen
    assert repr(scenario.callers) == (  # type: ignore[attr-defined]
        "Callers(rate=7.0, clients=3, patience=None, announced=True, timeout=5.0, method='POST')"
    )
    assert scenario.outage == (10.0, 35.0)  # type: ignore[attr-defined]
    assert capsys.readouterr().out == ""


def test_all_standard_scenarios_have_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """And run in as many processes as there are cores."""
    seen: dict[str, object] = {}

    def fake(_: object, scenarios: Sequence[object], **options: object) -> list[object]:
        seen["scenarios"], seen["processes"] = scenarios, options["processes"]
        return [None] * len(scenarios)

    monkeypatch.setattr(command, "sweep", fake)
    monkeypatch.setattr(command, "overview", lambda _: "an overview")
    monkeypatch.setattr(command, "table_of", lambda *_: "a table")
    main(["standard"])
    assert [s.name for s in seen["scenarios"]][:4] == ["A", "B", "C", "D10"]  # type: ignore[attr-defined]
    assert seen["processes"] == multiprocessing.cpu_count()


def test_pictures_are_drawn(file: str, tmp_path: Path) -> None:
    """One for each scenario, whose name it has if there are several."""
    stack = ("--alone", "--stack", f"{__name__}:client")
    main([file, *stack, *QUICK, "--plot", str(tmp_path / "one.svg")])
    main([file, file, *stack, *QUICK, "--plot", str(tmp_path / "many.png")])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "day.toml",
        "many-day.png",
        "one.svg",
    ]


def test_an_incident_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a CSV file."""
    path = tmp_path / "friday.csv"
    path.write_text("time,outcome,latency\n1,200,0.1\n2,503,0.1\n", encoding="utf-8")
    main([str(path), *QUICK])
    assert "friday: 2 requests in 1 s, replayed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: scenario"),
        (["unknown"], "no scenario is named 'unknown'"),
        (["missing.toml"], "No such file"),
        (["standard", "--seconds", "5"], "--seconds is for a kind of outage (blackout, "),
        (["D10", "--seconds", "5"], "D10 has a fixed length"),
        (["D10", "--seeds", "0"], "--seeds must be at least 1"),
        (["D10", "--processes", "0"], "--processes must be at least 1"),
        (["D10", "--rate", "-1"], "rate must be"),
        (["D10", "--alone"], "--alone leaves no stack"),
        (["D10", "--stack", "x"], "--stack must be MODULE:FUNCTION, got 'x'"),
        (["D10", "--stack", "no.such.module:x"], "No module named 'no'"),
        (["D10", "--stack", f"{__name__}:nothing"], "there is no such function"),
        (["D10", "--stack", f"{__name__}:Stacks.number"], "there is no such function"),
    ],
)
def test_an_argument_that_makes_no_sense_is_explained(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is simulated."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_drawing_without_its_library_is_refused_before_all_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the extra that has it."""
    monkeypatch.delitem(sys.modules, "walltrack.simulation.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit):
        main(["D10", "--plot", "x.png"])
    assert "pip install 'walltrack[simulation]'" in capsys.readouterr().err


def test_it_is_run_as_a_module(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And does nothing when it is imported, as the processes of a simulation do."""
    monkeypatch.setattr(sys, "argv", ["simulation", file, *QUICK])
    importlib.import_module("walltrack.simulation.__main__")
    del sys.modules["walltrack.simulation.__main__"]  # or runpy would warn of it
    assert capsys.readouterr().out == ""
    runpy.run_module("walltrack.simulation", run_name="__main__")
    assert "bare httpx" in capsys.readouterr().out


def test_the_command_without_its_libraries_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Instead of a traceback."""
    for name in ("command", "console"):
        monkeypatch.delitem(sys.modules, f"walltrack.simulation.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(SystemExit, match=r"pip install 'walltrack\[simulation\]'"):
        runpy.run_module("walltrack.simulation", run_name="__main__")


def test_a_simulation_in_code_needs_neither_rich_nor_matplotlib() -> None:
    """They are in an extra, which a test suite need not install."""
    code = (
        "import sys; sys.modules['rich'] = sys.modules['matplotlib'] = None; "
        "from walltrack.simulation import simulate; "
        "assert simulate(lambda inner: inner, 'A', seeds=1).success == 1.0"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)  # noqa: S603 - our own code
