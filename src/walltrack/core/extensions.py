"""The keys that this library uses in the `extensions` of httpx's requests and responses."""

import math
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from walltrack.core import validation
from walltrack.core.delivery import Delivery
from walltrack.core.stop_reason import StopReason

RETRY: Final = "walltrack.retry"
"""On a request: a `RetryPolicy` for this call alone, or False for a single attempt."""

SERVICE: Final = "walltrack.service"
"""On a request: the name of the service in events and errors, instead of `host[:port]`."""

AUTH: Final = "walltrack.auth"
"""On a request: what this call alone is authenticated by, instead of the auth of `AuthTransport`;
None for nothing."""

ROUTE: Final = "walltrack.route"
"""On a request: what events, errors and spans show instead of its path, such as "/bot{token}/send".
"""

ATTEMPTS: Final = "walltrack.attempts"
"""On a response: the number of attempts that were made, 1 or more."""

STOP_REASON: Final = "walltrack.stop_reason"
"""On a response that could have been retried: the `StopReason` for which it was not."""

IDEMPOTENCY_KEY: Final = "walltrack.idempotency_key"
"""On a response: the Idempotency-Key of the call, if it has one."""

WHOLE_BODY: Final = "walltrack.whole_body"
"""On a request: True reads the whole response body within the attempt, False none of it."""

DELIVERY: Final = "walltrack.delivery"
"""On a request, set by an inner transport before it raises: the `Delivery` that it knows. A
`RetryTransport` sets UNCERTAIN if the server can have acted on any attempt of the call."""

TRACE: Final = "trace"
"""On a request: httpcore's own key for a function that is called at every step of sending."""

TIMEOUT: Final = "timeout"
"""On a request: httpx's own key for its timeouts: a mapping from name to seconds."""

GATE: Final = "walltrack.gate"
"""On a request whose attempt failed or was rejected: the `Gate` that the attempt met."""

WAITS_AT_GATE: Final = "walltrack.waits_at_gate"
"""On a request: True if an outer layer waits when the `Gate` rejects it, and reports the end of
that wait: then the rejection itself is no event."""

REPORT: Final = "walltrack.report"
"""On a request: a `CallReport` that is updated while the call runs."""

SHARED_CALL: Final = "walltrack.shared_call"
"""On the requests that layers make of one request: the `SharedCall` that they all belong to."""

OPEN_CALL: Final = "walltrack.open_call"
"""On a request whose call ended without success, but may have been processed: its `SharedCall`."""

ATTEMPT: Final = "walltrack.attempt"
"""On the request of each attempt, before it is sent: its number, from 1."""

DEADLINE: Final = "walltrack.deadline"
"""On a request: the `Deadline` of the call, or the seconds that the call may take."""


class Deadline(Protocol):
    """A point in time at which a call must have ended."""

    def remaining(self) -> float:
        """Return the remaining seconds; 0.0 if the deadline has passed."""
        ...


class DeadlineIn:
    """A `Deadline` that lies some seconds after its creation.

    Args:
        seconds: How long the call may take, in seconds; at least 0.
        clock: Monotonic seconds.
    """

    __slots__ = ("_clock", "_until")

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = clock() + seconds

    def remaining(self) -> float:
        """Return the remaining seconds; 0.0 if the deadline has passed."""
        return max(self._until - self._clock(), 0.0)


def deadline_of(
    extensions: MutableMapping[str, Any], clock: Callable[[], float] = time.monotonic
) -> Deadline | None:
    """Return the deadline of a call; None if it has none.

    A number of seconds counts from now. It is replaced by a `Deadline`, so that all inner layers
    and all later attempts use the same point in time.

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
    """Return the remaining seconds of a call; infinite without a deadline.

    Raises:
        TypeError, ValueError: As in `deadline_of`.
    """
    deadline = deadline_of(extensions, clock)
    return math.inf if deadline is None else deadline.remaining()


def pool_timeout(extensions: MutableMapping[str, Any]) -> float:
    """Return how many seconds a call may wait for a connection; infinite without a limit."""
    timeouts: Any = extensions.get(TIMEOUT)
    seconds = timeouts.get("pool") if timeouts else None
    return math.inf if seconds is None else float(seconds)


class Gate(Protocol):
    """Something that can reject requests for some time, such as a circuit breaker."""

    def shut_for(self) -> float:
        """Return for how many seconds from now requests are rejected; 0.0 if they are admitted."""
        ...

    @property
    def is_probing(self) -> bool:
        """Whether probes are in flight, so that requests may be admitted sooner."""
        ...


@dataclass(slots=True)
class SharedCall:
    """What all layers that may send one request more than once know together of its call.

    A layer sees only the last of the attempts that a layer inside it made.

    Args:
        idempotency_key: The Idempotency-Key that was made for the call.
        delivery: Whether the server can have acted on any attempt so far; None: there was none.
        may_have_acted: Whether an attempt that was followed by another may have been processed.
    """

    idempotency_key: str | None = None
    delivery: Delivery | None = None
    may_have_acted: bool = False


@dataclass(slots=True)
class CallReport:
    """What is known about a call, even if it ends with an exception, which has no extensions.

    Args:
        attempts: How many attempts were made.
        delivery: Whether the server can have acted on any of them; None while this is unknown.
        idempotency_key: The Idempotency-Key of the call, if it had one.
        stop_reason: Why there was no other attempt, if the call was cancelled, as by a time limit.
    """

    attempts: int = 1
    delivery: Delivery | None = None
    idempotency_key: str | None = None
    stop_reason: StopReason | None = None
