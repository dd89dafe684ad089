"""A bucket whose tokens are those of a fleet, leased in small batches."""

import math
from collections import deque
from typing import Final

from walltrack.core.shared_state import Pace, TokenLease
from walltrack.rate_limit.token_bucket import TokenBucket

BATCH: Final = 0.1
"""Seconds of the rate that are leased at once, at most; but at least one token."""

LAPSE: Final = 0.1
"""Seconds after which a token that was not used is lost, so that tokens do not pile up."""

ALONE: Final = 1.0
"""Seconds for which a process uses its own bucket, after the store did not answer."""

_TRUSTED: Final = 1.0
"""Seconds for which a long queue of the fleet is relied on, before the store is asked again."""

_ROUNDING: Final = 1e-6
"""Seconds: the resolution of the store's times."""

_LONGEST_HOLD: Final = 60.0
"""Seconds for which requests are held back, before the store is asked again."""


class LeasedBucket(TokenBucket):
    """A bucket of tokens that are leased from the rate of a fleet.

    Each token may be used at its time in the store, and for `LAPSE` seconds after it. So in any
    period, the processes of the fleet send at most `burst + rate * (seconds + LAPSE)` requests. It
    is not known when an answer was given: a token is used at the time that counts from the end of
    the question's round trip, and lapses at the time that counts from its start. If a round trip
    takes longer than `LAPSE`, the last token of its lease is used all the same.

    While the store does not answer, this is a `TokenBucket`.

    Args:
        rate: How many tokens the fleet gets in `per` seconds.
        per: The period of `rate`, in seconds.
        burst: How many tokens the fleet gets at once after a pause.
    """

    __slots__ = ("_alone_until", "_backlog_until", "_batch", "_tokens", "_trusted_until", "pace")

    def __init__(self, rate: float, per: float, burst: int) -> None:
        super().__init__(rate, per, burst)
        self.pace: Pace = Pace(self._interval, burst)
        self._batch = max(1, int(BATCH / self._interval))
        self._tokens: deque[tuple[float, float]] = deque()  # from when until when, in rising order
        self._backlog_until = -math.inf  # the next token of the fleet comes then, or later
        self._alone_until = self._trusted_until = -math.inf

    def take(self, now: float) -> bool:
        """Take a token; return False and take nothing if there is none or the bucket is closed."""
        if now < self._alone_until:
            return super().take(now)
        self._drop_lapsed(now)
        if now < self._held_until or not self._tokens or self._tokens[0][0] > now:
            return False
        self._tokens.popleft()
        return True

    def opens_in(self, now: float, ahead: int = 0) -> float:
        """Return the seconds until a caller can take a token, if `ahead` others take theirs first.

        If that many tokens are not leased yet, this is the earliest possible time: other processes
        may have more callers.
        """
        if now < self._alone_until:
            return super().opens_in(now, ahead)
        begin = max(now, self._held_until)
        self._drop_lapsed(begin)
        missing = ahead - len(self._tokens)
        if missing < 0:
            return max(self._tokens[ahead][0], begin) - now
        earliest = begin + max(missing + 1 - self.pace.burst, 0) * self.pace.interval
        if now < self._trusted_until:
            earliest = max(earliest, self._backlog_until + missing * self.pace.interval)
        return earliest - now

    def is_full(self, now: float) -> bool:
        """Return whether the bucket is like a new one: without tokens, and not closed."""
        self._drop_lapsed(now)
        return not self._tokens and super().is_full(now)

    def wanted(self, now: float, waiting: int) -> int:
        """Return how many tokens to lease for `waiting` callers."""
        self._drop_lapsed(now)
        if self._tokens or now < self._held_until or now < self._alone_until:
            return 0
        return min(waiting, self._batch)

    def receive(
        self, asked_at: float, now: float, lease: TokenLease | None, patience: float
    ) -> float:
        """Add the tokens of a lease.

        Args:
            asked_at: When the store was asked.
            now: The current time.
            lease: What the store answered; None if it did not.
            patience: In how many seconds the first token had to come.

        Returns:
            For how many seconds the bucket has to be closed, as another process found out.
        """
        if lease is None or _is_nonsense(lease, patience):
            self._alone_until = now + ALONE
            return 0.0
        interval = self.pace.interval
        count = min(lease.tokens, self._batch)
        for number in range(count):
            after = max(lease.first_in + number * interval, 0.0)
            saved = now - asked_at > LAPSE and number == count - 1
            self._tokens.append((now + after, (now if saved else asked_at) + after + LAPSE))
        self._backlog_until = now + lease.first_in + count * interval
        self._trusted_until = now + _TRUSTED
        return min(lease.held_for, _LONGEST_HOLD)

    def _drop_lapsed(self, now: float) -> None:
        tokens = self._tokens
        while tokens and tokens[0][1] < now:
            tokens.popleft()


def _is_nonsense(lease: TokenLease, patience: float) -> bool:
    """Return whether tokens were given or refused without a reason; a store rounds times."""
    if lease.tokens:
        return lease.held_for > 0.0 or lease.first_in > patience + _ROUNDING
    return lease.held_for <= 0.0 and lease.first_in < patience - _ROUNDING
