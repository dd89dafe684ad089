"""How long a circuit breaker stays open: longer each time that it opens without having closed."""

from typing import Final

from walltrack.core import validation
from walltrack.core.backoff import Backoff, Random

COOLDOWN: Final = 30.0
"""Seconds that a circuit stays open unless its breaker is given another cooldown."""


def growth_of(cooldown: float | Backoff, cooldown_seconds: float | None) -> Backoff:
    """Return how cooldowns grow, from the two options of which a breaker takes one.

    Raises:
        TypeError: An option is of another type, or both are given.
        ValueError: A first cooldown is not above 0, infinite or NaN.
    """
    name = "cooldown"
    if cooldown_seconds is not None:
        if cooldown != COOLDOWN:
            raise TypeError("cooldown and cooldown_seconds are two names for one option: give one")
        name, cooldown = "cooldown_seconds", cooldown_seconds
    if isinstance(cooldown, Backoff):
        validation.positive("cooldown.base", cooldown.base)
        return cooldown
    validation.positive(name, cooldown)
    return Backoff(base=cooldown, factor=1, cap=cooldown)


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
        self.seconds: float = growth.base
        """The newest one as it really is, jitter included; before the first, where they begin."""

    def begin(self) -> float:
        """The breaker opens: for how many seconds?"""
        self.seconds = self._growth.delay(self._reopened, self.seconds, self._rng)
        self._reopened += 1
        return self.seconds

    def reset(self) -> None:
        """The breaker has closed: the next cooldown is the first one again."""
        self._reopened = 0
