import copy
import dataclasses
import math
import pickle
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from walltrack.core.backoff import Backoff, Jitter, parse_retry_after

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT
INF, NAN = float("inf"), float("nan")
JITTERS: list[Jitter] = ["none", "full", "equal", "decorrelated"]


class Dice:
    """A random source that yields a set value: 0 for the lower bound, 1 for the upper one."""

    def __init__(self, falls: float = 0.0) -> None:
        self.falls = falls
        self.bounds: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float, /) -> float:
        self.bounds.append((a, b))
        return a + self.falls * (b - a)


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (Backoff(), [1.0, 2.0, 4.0, 4.0]),
        (Backoff(base=0.5, factor=3.0, cap=10.0), [0.5, 1.5, 4.5, 10.0]),
        (Backoff(base=2.0, factor=1.0, cap=10.0), [2.0, 2.0, 2.0, 2.0]),
        (Backoff(base=4.0), [4.0, 4.0, 4.0, 4.0]),
        (Backoff(base=10), [10.0, 10.0, 10.0, 10.0]),
        (Backoff(base=0.0), [0.0, 0.0, 0.0, 0.0]),
        (Backoff(base=1.0, cap=3.0), [1.0, 2.0, 3.0, 3.0]),
    ],
)
def test_without_jitter_delays_grow_up_to_the_cap(backoff: Backoff, delays: list[float]) -> None:
    """The n-th delay is `min(base * factor ** n, cap)`, whatever was waited before."""
    assert [backoff.delay(n, 99.0, Dice()) for n in range(4)] == delays


def test_without_jitter_chance_is_not_asked() -> None:
    """The random source is not used, so the user's sequence of numbers is not changed."""
    dice = Dice()

    Backoff().delay(0, 0.0, dice)

    assert not dice.bounds


@pytest.mark.parametrize(
    ("jitter", "retry", "previous", "lowest", "highest"),
    [
        ("full", 0, 0.0, 0.0, 1.0),
        ("full", 2, 0.3, 0.0, 4.0),
        ("full", 9, 0.3, 0.0, 10.0),
        ("equal", 0, 0.0, 0.5, 1.0),
        ("equal", 2, 0.3, 2.0, 4.0),
        ("equal", 9, 0.3, 5.0, 10.0),
        ("decorrelated", 0, 99.0, 1.0, 3.0),
        ("decorrelated", 1, 1.5, 1.0, 4.5),
        ("decorrelated", 2, 8.0, 1.0, 10.0),
    ],
)
def test_jitter_spreads_a_delay(
    jitter: Jitter, retry: int, previous: float, lowest: float, highest: float
) -> None:
    """Each kind of jitter draws once, between its lowest and its highest delay."""
    backoff = Backoff(cap=10.0, jitter=jitter)
    low, high = Dice(0.0), Dice(1.0)

    assert backoff.delay(retry, previous, low) == lowest
    assert backoff.delay(retry, previous, high) == highest
    assert len(low.bounds) == 1


def test_decorrelated_jitter_may_fall_below_the_cap_after_it_was_met() -> None:
    """The delay is capped after the draw, so callers at the cap do not stay in step."""
    backoff = Backoff(cap=10.0, jitter="decorrelated")

    assert backoff.delay(5, 10.0, Dice(0.25)) == 8.25


@pytest.mark.parametrize("jitter", JITTERS)
def test_no_delay_is_negative_or_above_the_cap(jitter: Jitter) -> None:
    """Over long chains of random delays, every one stays within its bounds."""
    rng = random.Random(7)  # noqa: S311 - jitter is no secret
    backoff = Backoff(base=0.1, factor=1.7, cap=5.0, jitter=jitter)
    delay = 0.0

    for retry in range(500):
        delay = backoff.delay(retry, delay, rng)
        assert 0.0 <= delay <= 5.0


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated"])
def test_a_seed_repeats_the_delays(jitter: Jitter) -> None:
    """All randomness comes from the given source."""
    backoff = Backoff(cap=60.0, jitter=jitter)

    def delays(seed: int) -> list[float]:
        rng = random.Random(seed)  # noqa: S311 - jitter is no secret
        return [backoff.delay(n, 2.0, rng) for n in range(20)]

    assert delays(1) == delays(1) != delays(2)


@pytest.mark.parametrize("retry", [1023, 1024, 10**6])
@pytest.mark.parametrize("jitter", ["none", "full", "equal"])
def test_a_huge_number_of_retries_stays_at_the_cap(jitter: Jitter, retry: int) -> None:
    """Growth that exceeds the range of floats ends at the cap like any other."""
    assert Backoff(jitter=jitter).delay(retry, 4.0, Dice(1.0)) == 4.0


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"base": -0.1}, ValueError, "base must be"),
        ({"base": NAN}, ValueError, "base must be"),
        ({"base": INF, "cap": INF}, ValueError, "base must be"),
        ({"base": "1"}, TypeError, "base must be"),
        ({"base": True}, TypeError, "base must be"),
        ({"factor": 0.99}, ValueError, "factor must be"),
        ({"factor": NAN}, ValueError, "factor must be"),
        ({"factor": INF}, ValueError, "factor must be"),
        ({"factor": None}, TypeError, "factor must be"),
        ({"cap": -1}, ValueError, "cap must be"),
        ({"cap": NAN}, ValueError, "cap must be"),
        ({"cap": INF}, ValueError, "cap must be"),
        ({"cap": "4"}, TypeError, "cap must be"),
        ({"base": "5", "cap": None}, TypeError, "base must be"),
        ({"base": 5, "cap": 4}, ValueError, r"cap must be at least base \(5 s\), got 4 s"),
        ({"jitter": "some"}, ValueError, "jitter must be one of 'none', 'full', 'equal', 'decorr"),
        ({"jitter": None}, ValueError, "jitter must be one of"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    """An invalid argument is refused when it is given, by its name."""
    with pytest.raises(error, match=f"^{named}"):
        Backoff(**arguments)


@pytest.mark.parametrize(("base", "cap"), [(0.5, 4.0), (4.0, 4.0), (10, 10)])
def test_a_cap_that_is_not_given_is_at_least_the_base(base: float, cap: float) -> None:
    """A base above the default cap needs no second argument."""
    assert Backoff(base=base).cap == cap
    assert Backoff(base=base) == Backoff(base, 2.0, cap, "none")


def test_a_backoff_can_be_copied_with_another_value() -> None:
    """It is copied like any dataclass."""
    assert dataclasses.replace(Backoff(base=2.0), base=3.0) == Backoff(base=3.0)
    assert copy.copy(Backoff(base=2.0)) == pickle.loads(pickle.dumps(Backoff(base=2.0)))  # noqa: S301 - our own


def test_a_backoff_cannot_be_changed() -> None:
    """A backoff is a value: equal to one with the same fields, hashable, and frozen."""
    backoff = Backoff(base=0.5)

    assert backoff == Backoff(base=0.5)
    assert hash(backoff) == hash(Backoff(base=0.5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        backoff.base = 1.0  # type: ignore[misc]


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX+5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("007", 7.0),
        ("1.5", 1.5),
        ("  120\t", 120.0),
        ("3600", 3600.0),
        ("99999999999999", 99999999999999.0),
        ("9" * 5000, math.inf),
        ("30s", 30.0),
        ("6m0s", 360.0),
    ],
)
def test_seconds_are_read(value: str, seconds: float) -> None:
    """Seconds are understood with and without a unit, however many they are."""
    assert parse_retry_after([value], NOW) == seconds


@pytest.mark.usefixtures("_far_from_greenwich")
@pytest.mark.parametrize(
    "value",
    [
        "Sun, 06 Nov 1994 08:50:07 GMT",
        "Sunday, 06-Nov-94 08:50:07 GMT",
        "Sun Nov  6 08:50:07 1994",
        "Sun, 06 Nov 1994 09:50:07 +0100",
        "  Sun, 06 Nov 1994 08:50:07 GMT ",
        "1994-11-06T08:50:07Z",
        "1994-11-06T09:50:07.000+01:00",
        " 1994-11-06 08:50:07 ",
    ],
)
def test_dates_are_read(value: str) -> None:
    """All three HTTP date formats and RFC 3339 count from the given clock."""
    assert parse_retry_after([value], NOW) == 30.0


@pytest.mark.parametrize("value", ["1700000030", "1700000030000", "1700000030.0"])
def test_a_moment_since_1970_is_read(value: str) -> None:
    """A number that is a timestamp within a year of now is read as a time, not as seconds."""
    assert parse_retry_after([value], 1.7e9) == 30.0
    assert parse_retry_after([value], 1.7e9 + 60.0) is None


@pytest.mark.parametrize("skew", [-300.0, 0.0, 300.0])
def test_a_date_counts_from_the_date_of_its_response(skew: float) -> None:
    """A local clock that is five minutes off does not make a wait longer or shorter."""
    value = "Sun, 06 Nov 1994 08:50:07 GMT"
    assert parse_retry_after([value], NOW + skew, NOW) == 30.0
    assert parse_retry_after(["120"], NOW + skew, NOW) == 120.0


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:36 GMT",
        "Sunday, 06-Nov-94 08:00:00 GMT",
        "Sat Jan  1 00:00:00 1994",
    ],
)
def test_a_date_that_is_not_in_the_future_asks_for_nothing(value: str) -> None:
    """A date in the past, or the current moment, leaves the wait to the backoff."""
    assert parse_retry_after([value], NOW) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "-1",
        "-0",
        "+5",
        "1e9",
        "1_000",
        "0x10",
        ".5",
        "5.",
        "1.2.3",
        "5 s",
        ",",
        "soon, later",
        "inf",
        "nan",
        "soon",
        "\u0663",  # a digit to str.isdigit and to float
        "\u00b2",
        "\uff11\uff12",
        "Sun, 32 Nov 1994 08:50:07 GMT",
        "Sun, 06 Nov 1994 08:50:07 +9999",
        "Sun, 06 Nov 1994 08:50:07 +99999999999999999999",
        "Sun, 06 Nov 99999999999999999999 08:50:07 GMT",
        "Sun, 06 Nov " + "9" * 5000 + " 08:50:07 GMT",
        "120, " * 1000,
        "\x00",
    ],
    ids=ascii,
)
def test_what_cannot_be_read_asks_for_nothing(value: str) -> None:
    """A negative number or garbage is ignored like a missing header, and never raises."""
    assert parse_retry_after([value], NOW) is None


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([], None),
        (["5", "60", "7"], 60.0),
        (["5", "Sun, 06 Nov 1994 08:50:07 GMT"], 30.0),
        (["garbage", "5", "-1"], 5.0),
        (["garbage", "-1"], None),
        (["0", "garbage"], 0.0),
        (["120, 120"], 120.0),
        (["120,60"], 120.0),
        (["5, 7", "6"], 7.0),
        (["5, garbage, -1"], 5.0),
        (["Sun, 06 Nov 1994 08:50:07 GMT, Sun, 06 Nov 1994 08:50:17 GMT"], 40.0),
        (["5, Sun, 06 Nov 1994 08:50:07 GMT"], 30.0),
        (["Sunday, 06-Nov-94 08:50:07 GMT, 5"], 30.0),
    ],
)
def test_of_several_values_the_longest_wait_is_obeyed(
    values: list[str], seconds: float | None
) -> None:
    """Of several values the longest readable wait counts, also if commas join them."""
    assert parse_retry_after(values, NOW) == seconds


def test_no_base_is_no_delay_however_many_retries() -> None:
    """A base of 0 stays 0, even if the growth exceeds the range of floats."""
    assert Backoff(base=0.0).delay(5000, 0.0, random) == 0.0
