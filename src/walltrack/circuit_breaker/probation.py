"""The time in which a circuit breaker is half-open: a few probes, and how many have to succeed."""

import math


def needed(probes: int, share: float) -> int:
    """The fewest of `probes` that are at least the `share` of them."""
    enough = math.ceil(share * probes)
    return enough - 1 if (enough - 1) / probes >= share else enough  # 0.07 * 100 is above 7


class Probation:
    """So many places for probes, of which so many have to turn out well.

    A probe keeps its place when it has settled: when enough of them are good it is passed, and when
    enough cannot be reached any more it is failed. One that has no verdict gives its place back.
    One that has not settled in its time loses its place to the next caller, unless good headers had
    come (a long stream): that is its success from then on, until its body proves otherwise.

    Args:
        places: How many probes there are.
        enough: How many have to succeed.
    """

    __slots__ = ("_answered", "_bad", "_enough", "_good", "_places", "_under_way")

    def __init__(self, places: int, enough: int) -> None:
        self._places = places
        self._enough = enough
        self._good = 0
        self._bad = 0
        self._under_way: dict[int, float] = {}  # ticket: end of its time; in the order of both
        self._answered: set[int] = set()

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._under_way

    def begin(self, ticket: int, until: float) -> int:
        """Give `ticket` a place, for which the time must have come.

        Returns:
            The ticket of the oldest probe under way. Those that are older say nothing any more.
        """
        if self._is_full():
            self._replace()
        self._under_way[ticket] = until
        return next(iter(self._under_way))

    def answered(self, ticket: int) -> None:
        """Note that a probe's good headers have come."""
        self._answered.add(ticket)

    def settle(self, ticket: int, *, good: bool) -> None:
        """Take the verdict on a probe under way."""
        self.give_back(ticket)
        if good:
            self._good += 1
        else:
            self._bad += 1

    def give_back(self, ticket: int) -> None:
        """A probe ends without a verdict: its place is free."""
        del self._under_way[ticket]
        self._answered.discard(ticket)

    def shut_until(self) -> float:
        """From when on a caller is not refused: there is a place, or enough probes are good."""
        if not self._is_full():
            return -math.inf
        # Until it is passed or failed, some are under way; those before this one have answered.
        return next(
            until
            for count, (ticket, until) in enumerate(self._under_way.items(), start=1)
            if ticket not in self._answered or self._good + count >= self._enough
        )

    def is_passed(self, now: float) -> bool:
        """Whether enough probes are good, or have been answered well and had their time."""
        good = self._good
        for ticket in self._answered:
            good += self._under_way[ticket] <= now
        return good >= self._enough

    def is_failed(self) -> bool:
        """Whether enough good ones cannot be reached any more."""
        return self._bad > self._places - self._enough

    def _is_full(self) -> bool:
        return self._good + self._bad + len(self._under_way) >= self._places

    def _replace(self) -> None:
        # The oldest without an answer goes. Those before it had their time, too, and were answered:
        # they are good for good, since a result older than one that is disowned cannot count.
        while (oldest := next(iter(self._under_way))) in self._answered:
            self.settle(oldest, good=True)
        self.give_back(oldest)
