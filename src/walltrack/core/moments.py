"""Read the points in time and the durations that servers write into headers.

A point in time was written by the server's clock, which the `Date` of the response shows. It is
compared with that `Date`, so that a wrong local clock has no effect. If the two clocks differ by
more than a day, one of them is wrong, or the response is a recording; then the clock that is nearer
to the point in time is used. Without a `Date`, the local clock is used.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

DAY: Final = 86_400.0
YEAR: Final = 366 * DAY

_LONGEST: Final = 100
"""In characters; no date is longer."""

_FIRST_EPOCH: Final = 1e9
"""A number of at least this, which has ten digits, can be seconds since 1970."""

_EPOCHS: Final = (1.0, 1e3, 1e6, 1e9)
"""How many of its units a second has, for a time since 1970 in s, ms, µs or ns."""

# `++` and `?+` never backtrack: a value of any length takes one pass.
_DECIMAL: Final = r"[0-9]++(?:\.[0-9]++)?+"
_NUMBER: Final = re.compile(_DECIMAL)
_PART: Final = re.compile(rf"({_DECIMAL})(ms|us|ns|[dhms])")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})++")
_UNITS: Final = {
    "d": DAY,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "ns": 1e-9,
}
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)

_ASCTIME: Final = re.compile(
    r"[A-Za-z]{3} [A-Za-z]{3} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}"
)


def parse_number(text: str) -> float | None:
    """Return the value of a plain decimal number; None for anything else."""
    return float(text) if _NUMBER.fullmatch(text) else None


def parse_duration(text: str) -> float | None:
    """Return the seconds in a duration as Go formats it, such as `6m0s` or `20ms`."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def parse_moment(text: str) -> float | None:
    """Return an HTTP-date (RFC 9110, 5.6.7) or a timestamp (RFC 3339) in seconds since 1970.

    A timestamp without a time zone is read as UTC, and so is the oldest date format, which has no
    time zone. Return None for a date of any other format without a known time zone.
    """
    if len(text) > _LONGEST:
        return None
    timestamp = _TIMESTAMP.fullmatch(text.upper())
    try:
        moment = datetime.fromisoformat(timestamp[0]) if timestamp else parsedate_to_datetime(text)
        if moment.tzinfo is None and (timestamp or _ASCTIME.fullmatch(text)):
            moment = moment.replace(tzinfo=UTC)
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None


def seconds_until(text: str, now: float, date: float | None = None) -> float | None:
    """Return for how many seconds the value of a header asks to wait.

    The value can be seconds, a duration with units, an HTTP-date or an RFC 3339 timestamp. A large
    number is read as time since 1970 (in s, ms, µs or ns) if that is within a year from now.

    Args:
        text: The value, without surrounding white space.
        now: Seconds since 1970 by the local clock.
        date: Seconds since 1970 when the response was sent, by the server's clock.

    Returns:
        Seconds from now; None if the value has another form, or is a point in time that has passed.
    """
    number = parse_number(text)
    if number is not None:
        return _until_epoch(number, now, date) if number >= _FIRST_EPOCH else number
    duration = parse_duration(text)
    if duration is not None:
        return duration
    moment = parse_moment(text)
    return None if moment is None else _future(_from_now(moment, now, date))


def _until_epoch(number: float, now: float, date: float | None) -> float | None:
    for unit in _EPOCHS:
        wait = _from_now(number / unit, now, date)
        if abs(wait) <= YEAR:
            return _future(wait)
    return number  # not a plausible point in time, so seconds, as the RFC defines it


def _from_now(moment: float, now: float, date: float | None) -> float:
    if date is None:
        return moment - now
    if abs(date - now) <= DAY:
        return moment - date
    return min(moment - date, moment - now, key=abs)


def _future(wait: float) -> float | None:
    return wait if wait > 0.0 else None
