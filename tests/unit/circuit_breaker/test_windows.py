import math
from typing import Any

import pytest

from tests.support import Clock
from walltrack import CountWindow, TimeWindow
from walltrack.circuit_breaker.windows import Tally


def fill(tally: Tally, calls: str) -> list[bool]:
    """Record calls: "." is good, "x" failed, "s" was slow, "b" both; return the judgements."""
    return [tally.record(failed=call in "xb", slow=call in "sb") for call in calls]


def held(tally: Tally) -> tuple[int, int, int, int]:
    """What a window holds: calls, failures, slow ones, those that are either."""
    return (tally.calls, tally.failures, tally.slow, tally.bad)


@pytest.mark.parametrize("window", [CountWindow(), TimeWindow()])
def test_the_documented_defaults(window: CountWindow | TimeWindow) -> None:
    """Half of at least ten calls have to fail, and no call counts as slow."""
    assert (window.failure_rate, window.minimum_calls) == (0.5, 10)
    assert (window.slow_call_seconds, window.slow_call_rate) == (None, 1.0)
    assert CountWindow().size == 100
    assert (TimeWindow().seconds, TimeWindow().buckets) == (60.0, 10)


@pytest.mark.parametrize("kind", [CountWindow, TimeWindow])
@pytest.mark.parametrize(
    ("calls", "opens"),
    [
        ("x" * 9, False),
        ("x" * 10, True),
        ("xxxx......", False),
        ("xxxxx.....", True),
        (".....xxxxx", True),
        ("ssss......", False),
        ("ssssss....", True),
        ("bbbbb.....", True),
        ("bbbbss....", True),
        ("xxxxsssss.", False),
        ("." * 99, False),
    ],
)
def test_it_judges_by_rates_of_at_least_the_fewest_calls(
    clock: Clock, kind: type[CountWindow | TimeWindow], calls: str, *, opens: bool
) -> None:
    """Reaching the rate is enough, also when a successful call completes the minimum."""
    window = kind(failure_rate=0.5, minimum_calls=10, slow_call_seconds=1.0, slow_call_rate=0.6)

    *before, last = fill(window.tally(clock), calls)

    assert not any(before)
    assert last is opens


@pytest.mark.parametrize(
    ("rate", "failures", "calls"), [(0.1, 3, 30), (0.07, 7, 100), (0.3, 3, 10), (0.7, 7, 10)]
)
def test_a_rate_is_met_exactly(clock: Clock, rate: float, failures: int, calls: int) -> None:
    """Three of thirty are a tenth, whatever the rounding of floats."""
    window = CountWindow(calls, failure_rate=rate, minimum_calls=calls)

    assert fill(window.tally(clock), "." * (calls - failures) + "x" * failures)[-1]
    assert not any(fill(window.tally(clock), "." * (calls - failures + 1) + "x" * (failures - 1)))


def test_a_count_window_forgets_the_oldest_call(clock: Clock) -> None:
    """Each call beyond its size replaces the oldest one, whatever its kind."""
    tally = CountWindow(4, minimum_calls=4).tally(clock)
    fill(tally, "xsb.")
    assert held(tally) == (4, 2, 2, 3)

    counts = []
    for _ in range(5):
        fill(tally, ".")
        counts.append(held(tally))

    assert counts == [(4, 1, 2, 2), (4, 1, 1, 1), (4, 0, 0, 0), (4, 0, 0, 0), (4, 0, 0, 0)]


def test_time_means_nothing_to_a_count_window(clock: Clock) -> None:
    """The last calls count, however old they are."""
    tally = CountWindow(4, minimum_calls=4).tally(clock)
    fill(tally, "xx")
    clock.advance(1e9)
    tally.refresh()

    assert held(tally) == (2, 2, 0, 2)


def test_a_time_window_forgets_a_bucket_at_a_time(clock: Clock) -> None:
    """A call is forgotten when its bucket expires, and not before."""
    tally = TimeWindow(8.0, 4).tally(clock)  # 1000 is the beginning of a bucket
    fill(tally, "x")
    clock.advance(1.5)
    fill(tally, "s")
    clock.advance(1.5)
    fill(tally, "b.")
    assert held(tally) == (4, 2, 2, 3)

    clock.now = math.nextafter(1008.0, 0.0)
    tally.refresh()
    assert held(tally) == (4, 2, 2, 3)
    clock.now = 1008.0
    tally.refresh()
    assert held(tally) == (2, 1, 1, 1)
    clock.now = 1010.0
    tally.refresh()
    assert held(tally) == (0, 0, 0, 0)


@pytest.mark.parametrize("seconds", [8.0, 9.0, 15.75, 16.0, 1e6])
def test_a_long_silence_empties_a_time_window(clock: Clock, seconds: float) -> None:
    """A jump over many buckets at once empties all of them."""
    tally = TimeWindow(8.0, 4).tally(clock)
    for _ in range(4):
        fill(tally, "xsb.")
        clock.advance(2.0)
    clock.advance(seconds - 2.0)
    fill(tally, "x")

    assert held(tally) == (1, 1, 0, 1)


def test_a_clock_that_steps_back_changes_nothing(clock: Clock) -> None:
    """Calls recorded then go into the bucket of the latest calls."""
    tally = TimeWindow(8.0, 4).tally(clock)
    fill(tally, "x")
    clock.advance(-5.0)
    fill(tally, "x")
    clock.advance(5.0)
    tally.refresh()

    assert held(tally) == (2, 2, 0, 2)


@pytest.mark.parametrize("window", [CountWindow(4, minimum_calls=4), TimeWindow(8.0, 4)])
def test_a_cleared_window_is_empty(clock: Clock, window: CountWindow | TimeWindow) -> None:
    """Calls recorded before are not subtracted later."""
    tally = window.tally(clock)
    fill(tally, "xsb.x")
    tally.clear()
    assert held(tally) == (0, 0, 0, 0)

    fill(tally, "......")
    clock.advance(100.0)
    tally.refresh()
    assert held(tally)[1:] == (0, 0, 0)
    fill(tally, "xs")
    assert held(tally)[1:] == (1, 1, 2)


def test_a_window_shows_what_it_holds(clock: Clock) -> None:
    """Its repr shows the counts that it judges by."""
    tally = CountWindow().tally(clock)
    fill(tally, "..xsb")

    assert repr(tally) == "failures 2 and slow 2 of 5 calls"


@pytest.mark.parametrize("kind", [CountWindow, TimeWindow])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"failure_rate": 0.0}, ValueError),
        ({"failure_rate": 1.01}, ValueError),
        ({"failure_rate": math.nan}, ValueError),
        ({"failure_rate": "0.5"}, TypeError),
        ({"failure_rate": True}, TypeError),
        ({"minimum_calls": 0}, ValueError),
        ({"minimum_calls": 1.5}, TypeError),
        ({"slow_call_seconds": 0.0}, ValueError),
        ({"slow_call_seconds": math.inf}, ValueError),
        ({"slow_call_seconds": "1"}, TypeError),
        ({"slow_call_rate": 0}, ValueError),
        ({"slow_call_rate": None}, TypeError),
    ],
)
def test_bad_limits_are_refused_by_name(
    kind: type[CountWindow | TimeWindow], arguments: dict[str, Any], error: type[Exception]
) -> None:
    """A rate or number that is not valid is refused by its name."""
    (name,) = arguments

    with pytest.raises(error, match=f"^{name} must be"):
        kind(**arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "named"),
    [
        (CountWindow, {"size": 0}, ValueError, "size"),
        (CountWindow, {"size": 10.0}, TypeError, "size"),
        (CountWindow, {"size": 9}, ValueError, "minimum_calls"),
        (TimeWindow, {"seconds": 0.0}, ValueError, "seconds"),
        (TimeWindow, {"seconds": math.inf}, ValueError, "seconds"),
        (TimeWindow, {"buckets": 0}, ValueError, "buckets"),
        (TimeWindow, {"buckets": 1.5}, TypeError, "buckets"),
    ],
)
def test_bad_sizes_are_refused_by_name(
    kind: type[CountWindow | TimeWindow],
    arguments: dict[str, Any],
    error: type[Exception],
    named: str,
) -> None:
    """A window too small for the minimum of calls could never open a breaker."""
    with pytest.raises(error, match=f"^{named} must be"):
        kind(**arguments)
