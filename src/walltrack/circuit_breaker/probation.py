"""The probation of a half-open circuit breaker: a few probes, and how many have to succeed."""

import math


def needed(probes: int, share: float) -> int:
    """Return the smallest number of probes that is at least the `share` of all `probes`."""
    enough = math.ceil(share * probes)
    return enough - 1 if (enough - 1) / probes >= share else enough  # 0.07 * 100 is above 7


class Probation:
    """Decide by a limited number of probes whether a circuit breaker closes or opens again.

    1. Each probe takes a place, and keeps it after it has settled.
    2. The probation is passed when enough probes are good, and failed when enough good ones are no
       longer possible.
    3. A probe without a verdict gives its place back.
    4. A probe that has not settled in its time loses its place to the next caller. But if good
       headers came (as with a long stream), it counts as good from then on, until its body fails.
    5. After as many probes as there are places have lost theirs, the next ones have twice the time:
       a service whose answers take longer than the first cooldown could never pass otherwise.

    Args:
        places: How many probes are admitted.
        enough: How many of them have to succeed.
        seconds: The time of the first ones.
    """

    __slots__ = (
        *("_answered", "_bad", "_enough", "_good", "_in_flight", "_places", "_to_lose"),
        "seconds",
    )

    def __init__(self, places: int, enough: int, seconds: float) -> None:
        self.seconds: float = seconds
        """The time of the next probe."""
        self._places = places
        self._enough = enough
        self._to_lose = places  # until the time doubles
        self._good = 0
        self._bad = 0
        self._in_flight: dict[int, float] = {}  # ticket: end of its time; both in rising order
        self._answered: set[int] = set()

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._in_flight

    @property
    def is_untouched(self) -> bool:
        """Whether no probe is in flight, and none has had a verdict."""
        return not (self._in_flight or self._good or self._bad)

    def begin(self, ticket: int, now: float) -> int:
        """Give `ticket` a place; call it only once `shut_until` has passed.

        Args:
            ticket: The ticket of the probe.
            now: When its time begins.

        Returns:
            The ticket of the oldest probe in flight. Results with older tickets are ignored.
        """
        if self._is_full():
            self._replace()
        self._in_flight[ticket] = now + self.seconds
        return next(iter(self._in_flight))

    def renew(self, seconds: float) -> None:
        """Give the next probes this time, also those that replace others."""
        self.seconds = seconds
        self._to_lose = self._places + 1

    def answered(self, ticket: int) -> None:
        """Note that good headers came for a probe."""
        self._answered.add(ticket)

    def settle(self, ticket: int, *, good: bool) -> None:
        """Count the verdict on a probe in flight."""
        self.give_back(ticket)
        if good:
            self._good += 1
        else:
            self._bad += 1

    def give_back(self, ticket: int) -> None:
        """Free the place of a probe that ended without a verdict."""
        del self._in_flight[ticket]
        self._answered.discard(ticket)

    def shut_until(self) -> float:
        """Return until when callers are rejected: until there is a place, or enough good probes."""
        if not self._is_full():
            return -math.inf
        # While it is neither passed nor failed, some are in flight; those before have answered.
        return next(
            until
            for count, (ticket, until) in enumerate(self._in_flight.items(), start=1)
            if ticket not in self._answered or self._good + count >= self._enough
        )

    def is_passed(self, now: float) -> bool:
        """Return whether enough probes are good; good headers count when a probe's time is over."""
        good = self._good
        for ticket in self._answered:
            good += self._in_flight[ticket] <= now
        return good >= self._enough

    def is_failed(self) -> bool:
        """Return whether enough good probes are no longer possible."""
        return self._bad > self._places - self._enough

    def _is_full(self) -> bool:
        return self._good + self._bad + len(self._in_flight) >= self._places

    def _replace(self) -> None:
        # The oldest probe without headers loses its place. The time of those before it is over as
        # well, and they have good headers: count them now, since their results will be ignored.
        while (oldest := next(iter(self._in_flight))) in self._answered:
            self.settle(oldest, good=True)
        self.give_back(oldest)
        self._to_lose -= 1
        if not self._to_lose:
            self.seconds *= 2
            self._to_lose = self._places
