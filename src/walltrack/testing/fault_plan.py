"""Which fault is injected into which request: at random, but reproducible by a seed."""

import math
import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from walltrack.core import validation
from walltrack.core.outcome import valid_errors
from walltrack.core.statuses import valid_statuses

NO_CUT: Final = -1.0


class Fault(NamedTuple):
    """The fault of one request; by default there is none."""

    latency: float = 0.0
    """Seconds by which the request is delayed."""

    error: type[Exception] | None = None
    """The exception that is raised."""

    status: int | None = None
    """The status of the response."""

    cut: float = NO_CUT
    """The share of the body after which it breaks off, from 0 to below 1."""


@dataclass(slots=True)
class FaultCounts:
    """The number of faults of each kind."""

    latencies: int = 0
    errors: int = 0
    statuses: int = 0
    cuts: int = 0

    @property
    def total(self) -> int:
        """The number of all faults; a request that was delayed and then failed had two."""
        return self.latencies + self.errors + self.statuses + self.cuts


class FaultPlan:
    """Choose the fault of each request; the same seed gives the same faults in the same order.

    The arguments are those of `FaultTransport`, and are described there.
    """

    def __init__(
        self,
        *,
        error_rate: float,
        errors: Collection[type[Exception]],
        status_rate: float,
        statuses: Collection[int],
        latency_rate: float,
        latency: float | tuple[float, float],
        cut_rate: float,
        seed: int | None,
    ) -> None:
        ends = {"error_rate": error_rate, "status_rate": status_rate, "cut_rate": cut_rate}
        rates = {**ends, "latency_rate": latency_rate}
        for name, rate in rates.items():
            validation.number(name, rate)
            if rate > 1.0:
                raise ValueError(f"{name} must be at most 1, got {rate}")
        self._cut_below = math.fsum(ends.values())
        if self._cut_below > 1.0:
            raise ValueError(f"{' + '.join(ends)} must be at most 1, got {self._cut_below:g}")
        self._error_below = error_rate
        self._status_below = error_rate + status_rate
        self._latency_rate = latency_rate
        # Sorted, because the order of a set of classes differs from run to run.
        self._errors = sorted(valid_errors("errors", errors), key=_full_name)
        valid_statuses("statuses", statuses)
        self._statuses = sorted(statuses)
        if not (self._errors and self._statuses):
            raise ValueError(f"{'statuses' if self._errors else 'errors'} must not be empty")
        self._low, self._high = _span(latency)
        validation.instance("seed", seed, int | None)
        self._rng = random.Random(seed)  # noqa: S311 - reproducible faults, no secrets
        shown = [f"{name}={rate}" for name, rate in rates.items() if rate]
        self._shown = ", ".join(shown if seed is None else [*shown, f"seed={seed}"])

    def __str__(self) -> str:
        return self._shown

    def next(self) -> Fault:
        """Return the fault of the next request."""
        # Draw the same number of times for each request, so that requests do not affect each other.
        late, how_late, end, which = (self._rng.random() for _ in range(4))
        latency = 0.0
        if late < self._latency_rate:
            latency = self._low + how_late * (self._high - self._low)
        if end < self._error_below:
            return Fault(latency, error=self._errors[int(which * len(self._errors))])
        if end < self._status_below:
            return Fault(latency, status=self._statuses[int(which * len(self._statuses))])
        if end < self._cut_below:
            return Fault(latency, cut=which)
        return Fault(latency)


def _full_name(kind: type[Exception]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _span(latency: float | tuple[float, float]) -> tuple[float, float]:
    if not isinstance(latency, tuple):
        latency = (latency, latency)
    if len(latency) != len(("low", "high")):
        raise ValueError(f"latency must be a number or (low, high), got {latency!r}")
    low, high = latency
    validation.number("latency", low)
    validation.number("latency", high)
    if low > high:
        raise ValueError(f"latency must be (low, high), got {latency!r}")
    return low, high
