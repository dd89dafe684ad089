"""How long to wait: delays that grow, and the wait that a server asks for in Retry-After."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

from walltrack.core import validation
from walltrack.core.moments import seconds_until

Jitter = Literal["none", "full", "equal", "decorrelated"]

_CAP: Final = 4.0  # seconds, unless the first delay is longer

_LONGEST_LIST: Final = 1000
"""In characters. A longer Retry-After is not split at its commas."""


class Random(Protocol):
    """The source of randomness: the `random` module, a `random.Random`, or a test's own."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between `a` and `b`."""
        ...


@dataclass(frozen=True, slots=True, init=False)
class Backoff:
    """Delays that grow: before retry number n, counted from 0, `min(base * factor ** n, cap)`.

    Args:
        base: First delay, in seconds. Default: 1.
        factor: Each delay is the previous one times this; 1 keeps it constant. Default: 2.
        cap: Longest delay, in seconds; at least `base`. Default: the larger of 4 and `base`.
        jitter: How the delay is randomised, so that callers whose requests failed at the same time
            do not retry at the same time. "none": the delay as computed. "full": between 0 and that
            delay. "equal": between half of it and all of it. "decorrelated": between `base` and
            three times the previous delay, at most `cap`. The names are those of Brooker,
            "Exponential Backoff And Jitter" (AWS, 2015). Default: "none".

    Raises:
        TypeError: A number has another type.
        ValueError: A number is negative, infinite or NaN, `factor` is below 1, `cap` is below
            `base`, or `jitter` is unknown.
    """

    base: float
    factor: float
    cap: float
    jitter: Jitter

    # Written out: in a generated one, a `cap` that was left out would stay None.
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
        """Return the seconds to wait before a retry.

        Args:
            retry: Number of earlier retries: 0 for the first retry.
            previous: The delay before the previous retry, in seconds; ignored for the first one.
            rng: Source of randomness; not used without jitter.
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
        """Return the delay before a retry without jitter, in seconds."""
        try:
            return min(self.base * self.factor**retry, self.cap)
        except OverflowError:
            return self.cap if self.base else 0.0


def parse_retry_after(values: Iterable[str], now: float, date: float | None = None) -> float | None:
    """Return the seconds that a response's Retry-After asks to wait (RFC 9110, section 10.2.3).

    Forms beyond the RFC are understood as well: fractions, durations with units, RFC 3339
    timestamps, seconds since 1970, and several values joined by commas.

    Args:
        values: The header's values; a response should have at most one. If there are several, the
            longest wait counts.
        now: Seconds since 1970 by the local clock.
        date: Seconds since 1970 when the response was sent, by the server's clock: its `Date`. A
            point in time is measured from there; see `walltrack.core.moments`. None: from `now`.

    Returns:
        Seconds from now, possibly infinite; None if no value can be read and lies in the future.
    """
    waits = [
        wait
        for value in values
        for candidate in _candidates(value)
        if (wait := seconds_until(candidate.strip(), now, date)) is not None
    ]
    return max(waits, default=None)


def _candidates(value: str) -> list[str]:
    # A date contains a comma too, after its day of the week; what follows is still a date.
    return value.split(",") if len(value) <= _LONGEST_LIST else [value]
