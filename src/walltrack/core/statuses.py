"""Sets of HTTP statuses that read as people write them."""

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from typing import Final

_CLASS: Final = 100  # statuses in one class: 5xx are those from 500 to 599
_ALL: Final = frozenset(range(100, 600))


class StatusSet(frozenset[int]):
    """A set of statuses, with a repr such as `429, 5xx`, and with `plus` and `minus`.

    `statuses.plus(409, 425).minus(501)` reads from left to right. The operators of sets work, too,
    but `-` binds more tightly than `|`: `statuses | {409} - {501}` removes nothing of `statuses`.
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
"""Statuses that say "not now" rather than "not so"."""

UNHEALTHY_STATUSES: Final = DEFAULT_RETRY_STATUSES.minus(501, 505)
"""Those that say something of the whole service; 501 and 505 are about the request alone."""


class EveryStatus:
    """Contains every status: each response is to be looked at more closely."""

    def __contains__(self, _: object) -> bool:
        return True


EVERY_STATUS: Final = EveryStatus()


def valid_statuses(name: str, statuses: Collection[int]) -> StatusSet:
    """Refuse a set of statuses that cannot be what its author meant.

    Raises:
        TypeError: It is not a collection of whole numbers.
        ValueError: One of them is no HTTP status (RFC 9110, section 15: 100 to 599).
    """
    plausible = isinstance(statuses, Collection) and not isinstance(statuses, str | bytes)
    if not plausible or not all(isinstance(status, int) for status in statuses):
        raise TypeError(f"{name} must be a collection of whole numbers, got {statuses!r}")
    if strange := sorted(set(statuses) - _ALL):
        raise ValueError(f"{name} must be HTTP statuses from 100 to 599, got {strange}")
    return statuses if isinstance(statuses, StatusSet) else StatusSet(statuses)
