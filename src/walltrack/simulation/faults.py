"""What can go wrong, and when."""

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from walltrack.core import validation

Kind = Literal[
    "refuse", "blackhole", "reset", "status", "error", "lost", "slow", "late", "drip", "cut"
]
"""What a `Fault` does.

Before the service processes a request:

- refuse: the connection is refused.
- blackhole: the connection is never established.
- reset: the connection breaks off.
- status: the service answers with `status` at once.

After the service has processed it:

- error: the service answers with `status`.
- lost: the connection breaks off, without a response.
- late: the response takes `factor` times as long; the worker is free at the usual time.
- drip: the body arrives at one byte per second, and never ends.
- cut: the body breaks off.

To the service itself:

- slow: its workers take `factor` times as long, so that its capacity is lower.
"""

BEFORE_WORK: Final = frozenset({"refuse", "blackhole", "reset", "status"})
"""The kinds of faults that affect a request before the service processes it."""

AFTER_WORK: Final = frozenset({"error", "lost", "drip", "cut"})
"""The kinds of faults that make a request fail afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong for some time, for some or all requests.

    Args:
        kind: What goes wrong; see `Kind`.
        begins: Seconds into the run.
        ends: Seconds into the run. Default: never.
        share: The share of the requests that are affected, above 0 and up to 1.
        status: The status of the response (kinds "status" and "error").
        factor: The factor by which the duration is multiplied (kinds "slow" and "late").
        host: The only host that is affected. Default: all.
        backend: The number of the only backend that is affected, from 0. Default: all.
    """

    kind: Kind
    begins: float = 0.0
    ends: float = math.inf
    share: float = 1.0
    status: int = 503
    factor: float = 10.0
    host: str | None = None
    backend: int | None = None

    def __post_init__(self) -> None:
        validation.choice("kind", self.kind, get_args(Kind))
        validation.number("begins", self.begins)
        validation.number("ends", self.ends, minimum=self.begins, finite=False)
        validation.share("share", self.share)
        validation.positive("factor", self.factor)

    def befalls(self, now: float, host: str, backend: int) -> bool:
        """Return whether the fault affects requests to a backend at this time, all or a share."""
        return (
            self.begins <= now < self.ends
            and (self.host is None or self.host == host)
            and (self.backend is None or self.backend == backend)
        )
