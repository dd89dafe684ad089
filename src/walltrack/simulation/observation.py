"""How one request fared at a real service, and what it was at a moment."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

_BAD: Final = 400
_NEAR: Final = 1.0
"""Seconds; requests that were made so close to each other fared alike, by chance."""


@dataclass(frozen=True, slots=True)
class Observation:
    """How one request fared.

    Args:
        at: When it was made, in seconds into the record.
        outcome: The status of its answer, or the name of an exception of httpx's.
        seconds: How long it took.
    """

    at: float
    outcome: int | str
    seconds: float

    @property
    def succeeded(self) -> bool:
        """Whether it was answered with a status below 400."""
        return isinstance(self.outcome, int) and self.outcome < _BAD


def observed_near(record: Sequence[Observation], at: float) -> Sequence[Observation]:
    """Return the observations within a second of a moment, or else the next one, or the last.

    Args:
        record: All observations, in order of time; at least one.
        at: The moment, in seconds into the record.
    """
    return observed_between(record, at, at)


def observed_between(
    record: Sequence[Observation], begins: float, ends: float
) -> Sequence[Observation]:
    """Return the observations from a second before `begins` to a second after `ends`.

    If there are none, it is the next one, or else the last.
    """
    first = bisect_left(record, begins - _NEAR, key=attrgetter("at"))
    after = bisect_right(record, ends + _NEAR, key=attrgetter("at"))
    if first == after:
        first = min(first, len(record) - 1)
        after = first + 1
    return record[first:after]
