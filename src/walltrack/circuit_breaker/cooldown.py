"""How long a circuit breaker stays open; each reopening can make it longer."""

from typing import Final

from walltrack.core import validation
from walltrack.core.backoff import Backoff, Random

COOLDOWN: Final = 30.0
"""Default cooldown, in seconds."""


def growth_of(cooldown: float | Backoff, cooldown_seconds: float | None) -> Backoff:
    """Return how cooldowns grow, from two options of which a breaker accepts only one.

    Raises:
        TypeError: An option has another type, or both are given.
        ValueError: The first cooldown is not above 0, or is infinite or NaN.
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
        growth: How they grow: its first delay is the first cooldown, its second delay the cooldown
            after a failed probation, and so on.
        rng: Source of the jitter; not used without jitter.
    """

    __slots__ = ("_growth", "_reopened", "_rng", "probe_seconds", "seconds")

    def __init__(self, growth: Backoff, rng: Random) -> None:
        self._growth = growth
        self._rng = rng
        self._reopened = 0
        self.seconds: float = growth.base
        """The last cooldown in seconds, including jitter; before the first one, the first delay."""
        self.probe_seconds: float = growth.base
        """The time of the first probe after it."""

    @property
    def longest(self) -> float:
        """The longest cooldown, in seconds."""
        return self._growth.cap

    def upcoming(self) -> float:
        """Return the seconds that the breaker would stay open, if it opened now."""
        return self._growth.delay(self._reopened, self.seconds, self._rng)

    def begin(self) -> float:
        """Return the seconds that the breaker stays open, as it opens now."""
        self.seconds, self.probe_seconds = self.upcoming(), self._growth.base
        self._reopened += 1
        return self.seconds

    def follow(self, seconds: float, openings: int) -> None:
        """Note a cooldown that another process began.

        Args:
            seconds: How long it is from now on.
            openings: How many cooldowns there were since the circuit was last closed.
        """
        self.seconds, self.probe_seconds = seconds, self._growth.base
        self._reopened = openings

    def reset(self) -> None:
        """Note that the breaker has closed: the next cooldown is the first one again."""
        self._reopened = 0
