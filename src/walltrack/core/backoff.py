"""How long to wait: the arithmetic of delays, and what a server asks for in Retry-After."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol, get_args

from walltrack.core import validation

Jitter = Literal["none", "full", "equal", "decorrelated"]

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


class Random(Protocol):
    """The source of randomness: the `random` module, a `random.Random`, or a test's own."""

    def uniform(self, a: float, b: float, /) -> float:
        """A number between `a` and `b`."""
        ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that grow: `min(base * factor ** n, cap)` before the retry after n earlier ones.

    Args:
        base: First delay, in seconds. Default: 1.
        factor: By what each delay grows over the one before; 1 keeps it constant. Default: 2.
        cap: No delay is longer, in seconds; at least `base`. Default: 4.
        jitter: How the delay is spread, so that callers whose requests failed together do not come
            back together. "none": as computed. "full": anywhere from 0 to it. "equal": the upper
            half of that. "decorrelated": anywhere from `base` to three times the delay before, up
            to `cap`. The names are those of Brooker, "Exponential Backoff And Jitter" (AWS, 2015).
            Default: "none".

    Raises:
        TypeError: A number is not a number.
        ValueError: A number is negative, infinite or NaN, `factor` is below 1, `cap` is below
            `base`, or `jitter` has another name.
    """

    base: float = 1.0
    factor: float = 2.0
    cap: float = 4.0
    jitter: Jitter = "none"

    def __post_init__(self) -> None:
        validation.number("base", self.base)
        validation.number("factor", self.factor, minimum=1.0)
        validation.number("cap", self.cap)
        if self.cap < self.base:
            raise ValueError(f"cap must be at least base ({self.base:g} s), got {self.cap:g} s")
        validation.choice("jitter", self.jitter, get_args(Jitter))

    def delay(self, retry: int, previous: float, rng: Random) -> float:
        """Seconds to wait before a retry.

        Args:
            retry: How many retries went before: 0 for the first one.
            previous: What this gave for the retry before; for the first one it is not read.
            rng: Source of randomness; without jitter it is not touched.
        """
        ceiling = self.ceiling(retry)
        match self.jitter:
            case "full":
                return rng.uniform(0.0, ceiling)
            case "equal":
                return ceiling / 2.0 + rng.uniform(0.0, ceiling / 2.0)
            case "decorrelated":
                upper = 3.0 * (previous if retry else self.base)
                return min(rng.uniform(self.base, upper), self.cap)
        return ceiling

    def ceiling(self, retry: int) -> float:
        """Return the delay before a retry as it is without jitter, in seconds."""
        try:
            return min(self.base * self.factor**retry, self.cap)
        except OverflowError:
            return self.cap if self.base else 0.0


def parse_retry_after(values: Iterable[str], now: float) -> float | None:
    """Seconds that a response's Retry-After asks to wait (RFC 9110, section 10.2.3).

    Args:
        values: The header's values; a response should have one at most. Of several, the longest
            wait is obeyed: the server meant at least one of them.
        now: Seconds since the epoch, to measure an HTTP-date from.

    Returns:
        Seconds from `now`, possibly infinite; None when there is no value, or none that can be read
        and lies in the future. A fraction of a second, which the RFC does not know, is understood.
    """
    waits = [wait for value in values if (wait := _parse_one(value.strip(), now)) is not None]
    return max(waits, default=None)


def _parse_one(value: str, now: float) -> float | None:
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # asctime's format, the oldest of the three, names no zone: it is UTC
        moment = moment.replace(tzinfo=UTC)
    wait = moment.timestamp() - now
    return wait if wait > 0.0 else None
