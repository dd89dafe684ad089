"""How long a circuit breaker stays open: longer each time that it opens without having closed."""

from walltrack.core.backoff import Backoff, Random


class Cooldown:
    """The cooldowns of one breaker, one after the other.

    Args:
        growth: How they grow: its first delay is the first cooldown, its second one that after a
            probe failed, and so on.
        rng: Source of the jitter; without one it is not touched.
    """

    __slots__ = ("_growth", "_reopened", "_rng", "seconds")

    def __init__(self, growth: Backoff, rng: Random) -> None:
        self._growth = growth
        self._rng = rng
        self._reopened = 0
        self.seconds = growth.base
        """The newest one as it really is, jitter included; before the first, where they begin."""

    def begin(self) -> float:
        """The breaker opens: for how many seconds?"""
        self.seconds = self._growth.delay(self._reopened, self.seconds, self._rng)
        self._reopened += 1
        return self.seconds

    def reset(self) -> None:
        """The breaker has closed: the next cooldown is the first one again."""
        self._reopened = 0
