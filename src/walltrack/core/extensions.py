"""The keys under which this library reads and writes the `extensions` of httpx's messages."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from walltrack.core.delivery import Delivery

RETRY: Final = "walltrack.retry"
"""On a request: a `RetryPolicy` for this call alone, or False for a single attempt."""

SERVICE: Final = "walltrack.service"
"""On a request: the name of the service in events and errors, instead of `host[:port]`."""

ATTEMPTS: Final = "walltrack.attempts"
"""On a response: how many attempts it took, 1 or more."""

WHOLE_BODY: Final = "walltrack.whole_body"
"""On a request: True when the caller wants the whole body, read as a part of the attempt."""

DELIVERY: Final = "walltrack.delivery"
"""On a request, by an inner transport about to raise: the `Delivery` that it knows of."""

TRACE: Final = "trace"
"""On a request: httpcore's own key for a callback that hears of every step."""

TIMEOUT: Final = "timeout"
"""On a request: httpx's own key for its timeouts, in seconds, each by its name."""

GATE: Final = "walltrack.gate"
"""On a request whose attempt failed: the `Gate` which that attempt went through."""

REPORT: Final = "walltrack.report"
"""On a request: a `CallReport` that is filled in while the call runs."""


DEADLINE: Final = "walltrack.deadline"
"""On a request below a time limit: the `Deadline` by which the call has to be done."""


class Deadline(Protocol):
    """A moment by which a call has to be done."""

    def left(self) -> float:
        """How many seconds are left; 0.0 when it has passed."""
        ...


def time_left(extensions: Mapping[str, object]) -> float:
    """How many seconds a call with these `extensions` has left; infinite without a deadline."""
    deadline: Any = extensions.get(DEADLINE)
    left: float = math.inf if deadline is None else deadline.left()
    return left


def pool_timeout(extensions: Mapping[str, object]) -> float:
    """How many seconds httpx lets a call wait for a connection; infinite without a limit."""
    timeouts: Any = extensions.get(TIMEOUT)
    seconds = timeouts.get("pool") if timeouts else None
    return math.inf if seconds is None else float(seconds)


class Gate(Protocol):
    """A way to the server that can be shut; a circuit breaker is one."""

    def shut_for(self) -> float:
        """For how many seconds this way is shut from now on; 0.0 when it is open."""
        ...


@dataclass(slots=True)
class CallReport:
    """What is known of a call however it ends; an exception has no extensions to carry it.

    Args:
        attempts: How many attempts were made.
        delivery: Whether the server can have acted on any of them; None while that is not known.
    """

    attempts: int = 1
    delivery: Delivery | None = None

    def note(self, attempts: int, delivery: Delivery) -> None:
        """Note how an attempt ended; one that may have been acted on outweighs all others."""
        self.attempts = attempts
        known = (Delivery.UNCERTAIN, Delivery.ANSWERED, Delivery.NOT_SENT)
        self.delivery = next(d for d in known if d in (self.delivery, delivery))
