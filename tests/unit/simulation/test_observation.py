import pytest

from walltrack.simulation.observation import Observation, observed_between, observed_near

RECORD = tuple(Observation(float(at), 200, 0.1) for at in (0, 1, 2, 10, 11))


@pytest.mark.parametrize(
    ("at", "seen"),
    [(0.0, [0, 1]), (1.0, [0, 1, 2]), (1.5, [1, 2]), (10.9, [10, 11]), (5.0, [10]), (99.0, [11])],
)
def test_what_was_observed_within_a_second_is_near(at: float, seen: list[float]) -> None:
    """Where nothing was, it is the next observation, and at the end the last."""
    assert [observation.at for observation in observed_near(RECORD, at)] == seen


def test_a_span_has_a_second_more_at_both_ends() -> None:
    """What was observed just before it or just after it belongs to it."""
    assert [o.at for o in observed_between(RECORD, 3.0, 9.0)] == [2, 10]


@pytest.mark.parametrize(
    ("outcome", "succeeded"),
    [(200, True), (304, True), (404, False), (503, False), ("ConnectError", False)],
)
def test_a_status_below_400_is_a_success(outcome: int | str, *, succeeded: bool) -> None:
    """An exception is none."""
    assert Observation(0.0, outcome, 0.1).succeeded is succeeded
