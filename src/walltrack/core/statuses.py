"""Sets of HTTP statuses with a short repr."""

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from typing import Final

_CLASS: Final = 100  # statuses in one class: 5xx are those from 500 to 599
_ALL: Final = frozenset(range(100, 600))


class StatusSet(frozenset[int]):
    """A set of statuses with a repr such as `429, 5xx`, and with the methods `plus` and `minus`.

    `statuses.plus(409, 425).minus(501)` is evaluated from left to right. The set operators work as
    well, but `-` binds more tightly than `|`: `statuses | {409} - {501}` does not remove 501 from
    `statuses`.
    """

    __slots__ = ()

    def plus(self, *statuses: int) -> "StatusSet":
        """Return this set with `statuses` added."""
        return StatusSet(self.union(statuses))

    def minus(self, *statuses: int) -> "StatusSet":
        """Return this set without `statuses`."""
        return StatusSet(self.difference(statuses))

    def __repr__(self) -> str:
        return f"<{', '.join(_spans(self))}>"


def _spans(statuses: Iterable[int]) -> Iterator[str]:
    in_order = enumerate(sorted(statuses))
    for _, run in groupby(in_order, key=lambda place: place[1] - place[0]):
        numbers = [status for _, status in run]
        first, last = numbers[0], numbers[-1]
        if first % _CLASS == 0 and len(numbers) == _CLASS:
            yield f"{first // _CLASS}xx"
        else:
            yield str(first) if first == last else f"{first}-{last}"


DEFAULT_RETRY_STATUSES: Final = StatusSet({429, *range(500, 600)})
"""Statuses after which another attempt may succeed."""

UNHEALTHY_STATUSES: Final = DEFAULT_RETRY_STATUSES.minus(501, 505)
"""Statuses that show that the service is failing; 501 and 505 concern only the request."""

REFUSING_STATUSES: Final = StatusSet({429, 503})
"""Statuses by which a server states that it did not act."""


class EveryStatus:
    """A container of every status: each response needs a closer look."""

    def __contains__(self, _: object) -> bool:
        return True


EVERY_STATUS: Final = EveryStatus()


def valid_statuses(name: str, statuses: Collection[int]) -> StatusSet:
    """Return `statuses` as a `StatusSet`; reject numbers that are not HTTP statuses.

    Raises:
        TypeError: `statuses` is not a collection of whole numbers.
        ValueError: A number is not an HTTP status (RFC 9110, section 15: 100 to 599).
    """
    plausible = isinstance(statuses, Collection) and not isinstance(statuses, str | bytes)
    if not plausible or not all(isinstance(status, int) for status in statuses):
        raise TypeError(f"{name} must be a collection of whole numbers, got {statuses!r}")
    if strange := sorted(set(statuses) - _ALL):
        raise ValueError(f"{name} must be HTTP statuses from 100 to 599, got {strange}")
    return statuses if isinstance(statuses, StatusSet) else StatusSet(statuses)
