import math
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from walltrack.core.moments import (
    DAY,
    YEAR,
    parse_duration,
    parse_moment,
    parse_number,
    seconds_until,
)

NOW = 1_700_000_000.0  # 14 November 2023, 22:13:20 UTC


@pytest.fixture(autouse=True)
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX+5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0.0),
        ("007", 7.0),
        ("1.5", 1.5),
        ("0.0", 0.0),
        ("9" * 400, math.inf),
        ("", None),
        ("-1", None),
        ("+1", None),
        (".5", None),
        ("5.", None),
        ("1e9", None),
        ("1_000", None),
        ("nan", None),
        ("inf", None),
        (" 1", None),
        ("\u0663", None),  # a digit to str.isdigit and to float
        ("\u00b2", None),
    ],
    ids=ascii,
)
def test_a_number_is_decimal(text: str, number: float | None) -> None:
    """Plain decimal digits are a number; other forms that Python accepts are not."""
    assert parse_number(text) == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("20ms", 0.02),
        ("7.66s", 7.66),
        ("2m59.56s", 179.56),
        ("1d", DAY),
        ("0s", 0.0),
        ("250us", 0.00025),
        ("5ns", 5e-9),
        ("1s500ms", 1.5),
        ("", None),
        ("6", None),
        ("6m0", None),
        ("6 m", None),
        ("m", None),
        ("-6m", None),
        ("6M", None),
        ("6m0s,", None),
        ("6w", None),
    ],
)
def test_a_duration_has_units(text: str, seconds: float | None) -> None:
    """Durations in Go's format add up; a number without a unit is invalid."""
    assert parse_duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "text",
    [
        "Tue, 14 Nov 2023 22:13:20 GMT",
        "Tuesday, 14-Nov-23 22:13:20 GMT",
        "Tue Nov 14 22:13:20 2023",
        "Tue, 14 Nov 2023 23:13:20 +0100",
        "14 Nov 2023 22:13:20 GMT",
        "2023-11-14T22:13:20Z",
        "2023-11-14t22:13:20z",
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:20.000000000+00:00",
        "2023-11-14T17:13:20-05:00",
        "2023-11-14T23:13:20+0100",
    ],
)
def test_a_moment_is_a_date_or_a_timestamp(text: str) -> None:
    """All HTTP date formats and RFC 3339 are read, whatever the local time zone is."""
    assert parse_moment(text) == NOW


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Tue",
        "soon",
        "20231114T221320Z",
        "2023-11-14",
        "2023-11-14T22:13Z",
        "2023-11-14T22:13:60Z",
        "2023-13-14T22:13:20Z",
        "2023-11-14T22:13:20+99:99",
        "\u0662023-11-14T22:13:20Z",
        "Tue, 32 Nov 2023 22:13:20 GMT",
        "Tue, 14 Nov 2023 22:13:20",
        "Tue, 14 Nov 2023 22:13:20 +9999",
        "Tue, 14 Nov 99999999999999999999 22:13:20 GMT",
        "Tue Nov 14 2023 22:13:20 GMT+0100 (Central European Standard Time)",
        "Tue, 14 Nov 2023 22:13:20 GMT" + " " * 100,
        "\x00",
    ],
    ids=ascii,
)
def test_what_may_mean_another_moment_is_none(text: str) -> None:
    """A date without a zone, or with an unknown one, could be hours off."""
    assert parse_moment(text) is None


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("999999999", 999_999_999.0),
        ("6m0s", 360.0),
        ("1700000030", 30.0),
        ("1700000030.5", 30.5),
        ("1700000030000", 30.0),
        ("1700000030000000", 30.0),
        ("1700000030000000000", 30.0),
        ("1699999970", None),
        ("1700000000", None),
        ("1699999970000", None),
        ("1700000000.5", 0.5),
        (str(int(NOW + YEAR)), YEAR),
        (str(int(NOW + YEAR + 1)), NOW + YEAR + 1),
        (str(int(NOW - YEAR)), None),
        (str(int(NOW - YEAR - 1)), NOW - YEAR - 1),
        ("1000000000", 1_000_000_000.0),
        ("99999999999999", 99_999_999_999_999.0),
        ("2023-11-14T22:13:50Z", 30.0),
        ("2023-11-14T22:12:50Z", None),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:20 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 251_702_300_799.0),
        ("-5", None),
        ("soon", None),
    ],
)
def test_a_value_is_understood_however_it_is_written(text: str, wait: float | None) -> None:
    """A wait is a number, a duration or a time; anything past or invalid asks for no wait.

    A number of ten digits or more is a moment if it is within a year of now, and else seconds.
    """
    assert seconds_until(text, NOW) == wait


@pytest.mark.parametrize("skew", [-300.0, -1.0, 0.0, 1.0, 300.0, 0.9 * DAY, -0.9 * DAY])
@pytest.mark.parametrize(
    "text", ["Tue, 14 Nov 2023 22:13:50 GMT", "2023-11-14T22:13:50Z", "1700000030", "1700000030000"]
)
def test_a_moment_is_measured_by_the_clock_that_wrote_it(text: str, skew: float) -> None:
    """Whatever the local clock shows, 30 s after the response's Date are 30 s."""
    assert seconds_until(text, NOW + skew, NOW) == 30.0


@pytest.mark.parametrize("skew", [-300.0, 300.0, 10 * YEAR])
@pytest.mark.parametrize(("text", "wait"), [("30", 30.0), ("1m", 60.0)])
def test_seconds_need_no_clock(text: str, wait: float, skew: float) -> None:
    """A duration, unlike a time, is used as it is."""
    assert seconds_until(text, NOW + skew, NOW) == wait


@pytest.mark.parametrize(
    ("now", "date", "wait"),
    [
        (0.0, NOW, 30.0),  # the local clock was reset
        (NOW, 0.0, 30.0),  # the server's clock was reset
        (NOW + 10 * YEAR, NOW, 30.0),  # a recording is played back
        (NOW, NOW - 2 * DAY, 30.0),  # an intermediary always sets the same Date
        (NOW - DAY, NOW, 30.0),
        (NOW, NOW - DAY, 30.0 + DAY),  # not so far apart that one of them must be broken
    ],
)
def test_of_two_clocks_far_apart_the_one_nearer_to_the_moment_counts(
    now: float, date: float, wait: float
) -> None:
    """If the clocks differ by more than a day, the time is measured by the nearer one."""
    assert seconds_until(formatdate(NOW + 30, usegmt=True), now, date) == wait
    assert seconds_until(str(int(NOW + 30)), now, date) == wait


@given(st.text(max_size=200) | st.from_regex(r"[0-9.:TZdhms, +-]*", fullmatch=True), st.floats())
@example("9" * 5000, 0.0)
def test_any_text_has_a_meaning_or_none(text: str, date: float) -> None:
    """No header value raises, and no wait is negative."""
    wait = seconds_until(text, NOW, date)
    assert wait is None or wait >= 0.0


@pytest.mark.parametrize("piece", ["9", "1s", "1ms", "1.", "1.5", "1d1", " ", ",", "2023-", "Tue "])
def test_a_long_value_takes_one_pass(piece: str) -> None:
    """Two or more passes per character would make its caller wait."""
    for end in ("", "x"):
        seconds_until(piece * (100_000 // len(piece)) + end, NOW)
