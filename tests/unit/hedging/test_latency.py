import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltrack.hedging.latency import MovingPercentile

TIMES = st.floats(0, 1e6, allow_nan=False)


def nearest_rank(values: list[float], percent: float) -> float:
    """The textbook definition: the smallest value with at least `percent` of all at or below it."""
    return min(v for v in values if sum(w <= v for w in values) * 100 >= percent * len(values))


@given(st.lists(TIMES, min_size=1), st.integers(1, 8), st.sampled_from([1, 50, 90, 95, 99.9, 100]))
def test_it_is_the_percentile_of_the_window(
    values: list[float], window: int, percent: float
) -> None:
    """After each value it is the textbook percentile of the last `window` values."""
    percentile = MovingPercentile(percent, window, needed=1)
    for count, value in enumerate(values, 1):
        percentile.note(value)
        of_late = values[:count][-window:]
        assert len(percentile) == len(of_late)
        assert percentile.value == nearest_rank(of_late, percent)


def test_it_needs_enough_values() -> None:
    """Before the twentieth value there is none; of twenty it is the nineteenth."""
    percentile = MovingPercentile()
    for value in random.Random(7).sample(range(1, 21), 20):  # noqa: S311 - an order, no secret
        assert percentile.value is None
        percentile.note(value)
    assert percentile.value == 19


def test_it_moves_up_as_soon_as_one_in_twenty_is_slow() -> None:
    """Eleven slow values of two hundred are enough, and they are forgotten like any others."""
    percentile = MovingPercentile()
    for _ in range(500):
        percentile.note(0.002)
    for _ in range(10):
        percentile.note(2.0)
    assert percentile.value == 0.002
    percentile.note(2.0)
    assert percentile.value == 2.0
    for _ in range(190):
        percentile.note(0.002)
    assert percentile.value == 0.002
    assert len(percentile) == 200


def test_a_lower_bound_counts_only_above_the_percentile() -> None:
    """Up to the percentile the bound tells nothing, and without a percentile it is ignored."""
    percentile = MovingPercentile(50, window=4, needed=2)
    percentile.note_at_least(9.0)
    assert len(percentile) == 0
    percentile.note(1.0)
    percentile.note(1.0)
    percentile.note_at_least(0.5)
    percentile.note_at_least(1.0)
    assert len(percentile) == 2
    percentile.note_at_least(9.0)
    assert len(percentile) == 3


def test_it_can_be_forgotten() -> None:
    """One for each of many servers is kept in bounded memory."""
    assert MovingPercentile().idle


def test_it_shows_what_it_knows() -> None:
    """The percentile, and the number of values."""
    percentile = MovingPercentile(needed=1)
    assert repr(percentile) == "<MovingPercentile None of 0 values>"
    percentile.note(0.25)
    assert repr(percentile) == "<MovingPercentile 0.25 of 1 values>"


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"percent": 0}, ValueError, "percent"),
        ({"percent": 100.5}, ValueError, "percent"),
        ({"percent": math.nan}, ValueError, "percent"),
        ({"percent": "95"}, TypeError, "percent"),
        ({"window": 0, "needed": 0}, ValueError, "window"),
        ({"window": 2.5}, TypeError, "window"),
        ({"needed": 0}, ValueError, "needed"),
        ({"needed": 201}, ValueError, "needed"),
    ],
)
def test_bad_input_is_refused(options: Any, error: type[Exception], name: str) -> None:  # noqa: ANN401 - bad input
    """It is refused when it is given, by name."""
    with pytest.raises(error, match=name):
        MovingPercentile(**options)
