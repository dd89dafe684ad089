"""The limits on the time of a request, and which of them ends first."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from walltrack.core import validation
from walltrack.core.extensions import Deadline
from walltrack.timeout.deadline import TimeLimit

HEADERS: Final = "time to headers"
IDLE: Final = "time between chunks"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTimeout:
    """Time limits of one attempt; give at least one of them.

    Args:
        headers: Seconds until the headers of the response; above 0. None: no limit.
        idle: Seconds between two chunks of the body; above 0. None: no limit.
        total: Seconds until the end of the body; above 0. None: no limit. It also ends long streams
            that are working.

    Raises:
        TypeError: A limit is not a number.
        ValueError: A limit is not above 0, infinite or NaN, or none is given.
    """

    headers: float | None = None
    idle: float | None = None
    total: float | None = None

    def __post_init__(self) -> None:
        limits = {"headers": self.headers, "idle": self.idle, "total": self.total}
        for name, seconds in limits.items():
            if seconds is not None:
                validation.positive(name, seconds)
        if all(seconds is None for seconds in limits.values()):
            raise ValueError(f"at least one of {', '.join(limits)} must be given")

    def begin(self, name: str, clock: Callable[[], float], outer: Deadline | None) -> TimeLimit:
        """Return the limit in total, which starts now."""
        return TimeLimit(math.inf if self.total is None else self.total, name, clock, outer)

    def to_headers(self, total: TimeLimit, clock: Callable[[], float]) -> TimeLimit:
        """Return the limit that ends first while there are no headers."""
        if self.headers is None or total.own_remaining() <= self.headers:
            return total
        return TimeLimit(self.headers, HEADERS, clock, total)

    @property
    def covers_bodies(self) -> bool:
        """Whether a limit applies to reading a body."""
        return self.total is not None or self.idle is not None
