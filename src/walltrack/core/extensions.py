"""The keys under which this library reads and writes the `extensions` of httpx's messages."""

import math
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from walltrack.core import validation
from walltrack.core.delivery import Delivery

RETRY: Final = "walltrack.retry"
"""On a request: a `RetryPolicy` for this call alone, or False for a single attempt."""

SERVICE: Final = "walltrack.service"
"""On a request: the name of the service in events and errors, instead of `host[:port]`."""

ATTEMPTS: Final = "walltrack.attempts"
"""On a response: how many attempts it took, 1 or more."""

IDEMPOTENCY_KEY: Final = "walltrack.idempotency_key"
"""On a response: the Idempotency-Key of the call, if it had one."""

WHOLE_BODY: Final = "walltrack.whole_body"
"""On a request: True has the whole body read as a part of the attempt, False none of it."""

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

ATTEMPT: Final = "walltrack.attempt"
"""On the request of each attempt, before it is sent: its number, from 1."""

DEADLINE: Final = "walltrack.deadline"
"""On a request: the `Deadline` by which the call has to be done, or the seconds that it has."""


class Deadline(Protocol):
    """A moment by which a call has to be done."""

    def remaining(self) -> float:
        """Return the seconds that are left; 0.0 when the moment has passed."""
        ...


class DeadlineIn:
    """The `Deadline` that is some seconds away when it is made.

    Args:
        seconds: How long the call may take, in seconds; at least 0.
        clock: Monotonic seconds.
    """

    __slots__ = ("_clock", "_until")

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = clock() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left; 0.0 when the moment has passed."""
        return max(self._until - self._clock(), 0.0)


def deadline_of(
    extensions: MutableMapping[str, Any], clock: Callable[[], float] = time.monotonic
) -> Deadline | None:
    """Return the deadline of a call; None if it has none.

    Seconds are taken from now, and replaced by the moment that they end at: every layer further
    inside, and every later attempt, then reads the same moment.

    Raises:
        TypeError: The value is neither a number nor a `Deadline`.
        ValueError: The number is negative or NaN.
    """
    given = extensions.get(DEADLINE)
    if given is None or callable(getattr(given, "remaining", None)):
        deadline: Deadline | None = given
        return deadline
    name = f"extensions[{DEADLINE!r}]"
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(
            f"{name} must be the seconds that the call may take, or an object with remaining(), "
            f"got a {type(given).__name__}"
        )
    validation.number(name, given, finite=False)
    pinned = extensions[DEADLINE] = DeadlineIn(given, clock)
    return pinned


def time_left(
    extensions: MutableMapping[str, Any], clock: Callable[[], float] = time.monotonic
) -> float:
    """Return the seconds that a call has left; infinite without a deadline.

    Raises:
        TypeError, ValueError: As `deadline_of`.
    """
    deadline = deadline_of(extensions, clock)
    return math.inf if deadline is None else deadline.remaining()


def pool_timeout(extensions: MutableMapping[str, Any]) -> float:
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
        idempotency_key: The Idempotency-Key of the call, if it had one.
    """

    attempts: int = 1
    delivery: Delivery | None = None
    idempotency_key: str | None = None

    def note(self, attempts: int, delivery: Delivery) -> None:
        """Note how an attempt ended; one that may have been acted on outweighs all others."""
        self.attempts = attempts
        known = (Delivery.UNCERTAIN, Delivery.ANSWERED, Delivery.NOT_SENT)
        self.delivery = next(d for d in known if d in (self.delivery, delivery))
