"""How long to wait: the arithmetic of delays, and what a server asks for in Retry-After."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

from walltrack.core import validation
from walltrack.core.moments import seconds_until

Jitter = Literal["none", "full", "equal", "decorrelated"]

_CAP: Final = 4.0  # seconds, unless the first delay is longer

_LONGEST_LIST: Final = 1000
"""No Retry-After with several values that mean anything is longer, in characters."""


class Random(Protocol):
    """The source of randomness: the `random` module, a `random.Random`, or a test's own."""

    def uniform(self, a: float, b: float, /) -> float:
        """A number between `a` and `b`."""
        ...


@dataclass(frozen=True, slots=True, init=False)
class Backoff:
    """Delays that grow: `min(base * factor ** n, cap)` before the retry after n earlier ones.

    Args:
        base: First delay, in seconds. Default: 1.
        factor: By what each delay grows over the one before; 1 keeps it constant. Default: 2.
        cap: No delay is longer, in seconds; at least `base`. Default: the larger of 4 and `base`.
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

    base: float
    factor: float
    cap: float
    jitter: Jitter

    # Not the one of a dataclass, whose `cap` would have to be None after it was left out.
    def __init__(
        self,
        base: float = 1.0,
        factor: float = 2.0,
        cap: float | None = None,
        jitter: Jitter = "none",
    ) -> None:
        validation.number("base", base)
        validation.number("factor", factor, minimum=1.0)
        if cap is None:
            cap = max(_CAP, base)
        validation.number("cap", cap)
        if cap < base:
            raise ValueError(f"cap must be at least base ({base:g} s), got {cap:g} s")
        validation.choice("jitter", jitter, get_args(Jitter))
        for name, value in (("base", base), ("factor", factor), ("cap", cap), ("jitter", jitter)):
            object.__setattr__(self, name, value)

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


def parse_retry_after(values: Iterable[str], now: float, date: float | None = None) -> float | None:
    """Return the seconds that a response's Retry-After asks to wait (RFC 9110, section 10.2.3).

    More is understood than the RFC has: fractions, durations with units, RFC 3339 timestamps,
    moments as a number since 1970, and several values joined by commas.

    Args:
        values: The header's values; a response should have one at most. Of several, the longest
            wait is obeyed: the server meant at least one of them.
        now: Seconds since 1970 by the local clock.
        date: Seconds since 1970 when the response was sent, by the server's clock: its `Date`. A
            moment is measured from there; see `walltrack.core.moments`. None: from `now`.

    Returns:
        Seconds from now, possibly infinite; None when there is no value, or none that can be read
        and lies in the future.
    """
    waits = [
        wait
        for value in values
        for candidate in _candidates(value)
        if (wait := seconds_until(candidate.strip(), now, date)) is not None
    ]
    return max(waits, default=None)


def _candidates(value: str) -> list[str]:
    # A date has a comma of its own, after a day of the week that need not be there.
    return value.split(",") if len(value) <= _LONGEST_LIST else [value]
