from pathlib import Path

import pytest

from walltrack.simulation.incident import load_incident
from walltrack.simulation.observation import Observation
from walltrack.simulation.run import simulate
from walltrack.simulation.scenario import Scenario
from walltrack.simulation.stacks import bare

HEADER = "time,outcome,latency\n"


def loaded(directory: Path, rows: str, header: str = HEADER) -> Scenario:
    """What a file with these rows says."""
    path = directory / "friday.csv"
    path.write_text(header + rows, encoding="utf-8")
    return load_incident(path)


@pytest.mark.parametrize(
    "rows",
    [
        "1000.5,200,0.12\n1002.5,ConnectError,0.003\n1010.5,503,0.02\n",
        "1010.5,503,0.02\n1000.5,200,0.12\n1002.5,ConnectError,0.003\n",
        (
            "2026-03-01T12:00:00.5Z,200,0.12\n2026-03-01T12:00:10.5Z,503,0.02\n"
            "2026-03-01T13:00:02.5+01:00,ConnectError,0.003\n"
        ),
    ],
)
def test_a_record_is_read_in_order_of_time(rows: str, tmp_path: Path) -> None:
    """Seconds or dates; the first request begins at 0."""
    scenario = loaded(tmp_path, rows)
    assert scenario.record == (
        Observation(0.0, 200, 0.12),
        Observation(2.0, "ConnectError", 0.003),
        Observation(10.0, 503, 0.02),
    )
    assert (scenario.name, scenario.seconds) == ("friday", 10.0)
    assert scenario.callers.rate == pytest.approx(0.3)


def test_other_columns_are_ignored(tmp_path: Path) -> None:
    """Logs have more than is needed here."""
    header = "path,latency,outcome,time\n"
    assert loaded(tmp_path, "/x,0.5,200,7\n", header).record == (Observation(0.0, 200, 0.5),)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ("", HEADER, "has no rows"),
        ("", "", "has no column 'time'"),
        ("1,200\n", "time,outcome\n", "has no column 'latency'"),
        ("now,200,0.1\n", HEADER, r"friday.csv:2: Invalid isoformat string"),
        ("1,200,0.1\n2,200,soon\n", HEADER, r"friday.csv:3: could not convert"),
        ("1,200,-1\n", HEADER, r"friday.csv:2: latency must be"),
        ("1,200,nan\n", HEADER, r"friday.csv:2: latency must be"),
        ("1,Oops,1\n", HEADER, r"friday.csv:2: outcome must be a status or an exception"),
        ("1,Client,1\n", HEADER, r"friday.csv:2: outcome must be a status or an exception"),
        ("1,200\n", HEADER, r"friday.csv:2: "),
    ],
)
def test_what_makes_no_sense_is_refused(
    rows: str, header: str, message: str, tmp_path: Path
) -> None:
    """With the line that it stands in."""
    with pytest.raises(ValueError, match=message):
        loaded(tmp_path, rows, header)


def test_a_replay_fares_as_the_record_did(tmp_path: Path) -> None:
    """Without any layer, as large a share of the calls succeeds, within what chance allows."""
    rows = "".join(
        f"{second / 10},{'ConnectError' if 200 <= second < 300 else 200},0.1\n"
        for second in range(600)
    )
    path = tmp_path / "x.csv"
    path.write_text(HEADER + rows, encoding="utf-8")
    scenario = load_incident(path, begins=20.0, ends=30.0)
    report = simulate(bare, scenario, seeds=3)
    assert report.success == pytest.approx(500 / 600, abs=0.02)
    assert report.recovery == pytest.approx(0.5, abs=0.6)
    assert report.oracle > 0.95
