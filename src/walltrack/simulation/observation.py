"""The recorded result of one request to a real service, and look-ups by time."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

_BAD: Final = 400
_NEAR: Final = 1.0
"""Seconds; requests within this time of each other are assumed to have similar results."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The result of one request.

    Args:
        at: When it was made, in seconds into the record.
        outcome: The status of the response, or the name of an exception of httpx.
        seconds: How long it took.
    """

    at: float
    outcome: int | str
    seconds: float

    @property
    def succeeded(self) -> bool:
        """Whether the response had a status below 400."""
        return isinstance(self.outcome, int) and self.outcome < _BAD


def observed_near(record: Sequence[Observation], at: float) -> Sequence[Observation]:
    """Return the observations within a second of a time, or else the next one, or the last one.

    Args:
        record: All observations, in order of time; at least one.
        at: The time, in seconds into the record.
    """
    return observed_between(record, at, at)


def observed_between(
    record: Sequence[Observation], begins: float, ends: float
) -> Sequence[Observation]:
    """Return the observations from a second before `begins` to a second after `ends`.

    If there are none, return the next one, or else the last one.
    """
    first = bisect_left(record, begins - _NEAR, key=attrgetter("at"))
    after = bisect_right(record, ends + _NEAR, key=attrgetter("at"))
    if first == after:
        first = min(first, len(record) - 1)
        after = first + 1
    return record[first:after]
