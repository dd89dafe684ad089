import pytest

from walltrack.simulation.scenario import Callers
from walltrack.simulation.standard import HEEDS_DEADLINES, KINDS, STANDARD, scenario_named


def test_the_standard_scenarios_are_named() -> None:
    """By themselves, and each says what happens."""
    assert " ".join(STANDARD) == "A B C D10 D60 D300 D10r E10 E60 E10u F G H I J Jc K L M"
    assert all(scenario.name == name for name, scenario in STANDARD.items())
    assert all(scenario.title for scenario in (*STANDARD.values(), HEEDS_DEADLINES))


def test_careless_retries_are_dangerous_in_them() -> None:
    """20 calls a second meet a service that bears 25, unless there is said to be room."""
    tight = {n: s for n, s in STANDARD.items() if n not in {"D10r", "G", "I", "K", "M"}}
    assert {scenario.callers for scenario in STANDARD.values()} == {Callers()}
    assert {round(s.service.capacity, 6) for s in tight.values()} == {25.0}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_of_outage_takes_its_length(name: str) -> None:
    """In seconds; the run is long enough to see what comes after it."""
    scenario = scenario_named(name, 36.0)
    assert scenario.name == name
    begins, ends = scenario.outage
    assert ends - begins == pytest.approx(36.0)
    assert all(fault.begins <= ends for fault in scenario.faults)
    if scenario.recovers:
        assert scenario.seconds >= ends + 50.0


def test_flapping_ends_with_its_length() -> None:
    """The last time that it is down may be cut short."""
    scenario = scenario_named("flapping", 13.0)
    assert [(f.begins, f.ends) for f in scenario.faults] == [(10.0, 15.0), (20.0, 23.0)]


def test_a_deploy_takes_one_backend_after_the_other() -> None:
    """Each for the same time."""
    faults = scenario_named("deploy", 20.0).faults
    assert [(f.backend, f.begins, f.ends) for f in faults] == [
        (0, 10.0, 15.0),
        (1, 15.0, 20.0),
        (2, 20.0, 25.0),
        (3, 25.0, 30.0),
    ]


def test_a_scenario_is_found_by_its_name() -> None:
    """A kind has a length of its own; callers can be replaced."""
    assert scenario_named("D10") is STANDARD["D10"]
    assert scenario_named("blackout").outage == (10.0, 20.0)
    crowd = Callers(rate=200.0)
    assert scenario_named("D10", callers=crowd).callers == crowd


def test_a_name_that_is_unknown_or_a_length_that_is_fixed_is_refused() -> None:
    """With what there is."""
    with pytest.raises(ValueError, match=r"no scenario is named 'X'; there are blackout, .*, M"):
        scenario_named("X")
    with pytest.raises(ValueError, match="D10 has a fixed length"):
        scenario_named("D10", 5.0)
