from pathlib import Path

import pytest

from walltrack.simulation.faults import Fault
from walltrack.simulation.scenario import Callers, Latency, Quota, Scenario, Service
from walltrack.simulation.scenario_file import load_scenario

WHOLE = """
title = "a deploy that goes wrong"
seconds = 120

[service]
workers = 20
latency = {minimum = 0.02, tail = 0.03}
queue = inf
hosts = ["a.test", "b.test"]
quota = {rate = 50.0, burst = 10}

[callers]
rate = 200
patience = inf

[[fault]]
kind = "refuse"
begins = 20
ends = 25
times = 3
every = 10

[[fault]]
kind = "lost"
share = 0.5
"""


def loaded(directory: Path, text: str) -> Scenario:
    """What a file with this text says."""
    path = directory / "friday.toml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path)


def test_a_file_says_all_that_the_classes_can(tmp_path: Path) -> None:
    """And a fault can be repeated."""
    assert loaded(tmp_path, WHOLE) == Scenario(
        name="friday",
        title="a deploy that goes wrong",
        seconds=120,
        service=Service(
            workers=20,
            latency=Latency(minimum=0.02, tail=0.03),
            queue=None,
            hosts=("a.test", "b.test"),
            quota=Quota(rate=50.0, burst=10),
        ),
        callers=Callers(rate=200, patience=None),
        faults=(
            Fault(kind="refuse", begins=20, ends=25),
            Fault(kind="refuse", begins=30, ends=35),
            Fault(kind="refuse", begins=40, ends=45),
            Fault(kind="lost", share=0.5),
        ),
    )


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    """Only the length is needed."""
    assert loaded(tmp_path, "seconds = 5") == Scenario(name="friday", seconds=5)
    assert loaded(tmp_path, 'seconds = 5\nname = "x"').name == "x"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", TypeError, "friday.toml: .*'seconds'"),
        ("seconds = ", ValueError, "Invalid value"),
        ("seconds = 5\nspeed = 3", ValueError, "friday.toml has no 'speed'; it has"),
        ("seconds = 5\n[service]\nworker = 3", ValueError, "service has no 'worker'"),
        ("seconds = 5\n[service]\nquota = {}", TypeError, "service.quota: .*'rate'"),
        ("seconds = 5\n[callers]\nrate = 0", ValueError, "rate must be"),
        ("seconds = 5\n[[fault]]\nshare = 1", TypeError, "fault: .*'kind'"),
        ('seconds = 5\n[[fault]]\nkind = "slow"\ntimes = 0', ValueError, "fault.times must be"),
        ('seconds = 5\n[[fault]]\nkind = "slow"\nevery = "day"', TypeError, "fault.every must be"),
    ],
)
def test_what_makes_no_sense_is_refused(
    text: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    """With where it stands, and what could stand there."""
    with pytest.raises(error, match=message):
        loaded(tmp_path, text)
