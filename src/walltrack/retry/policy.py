"""Shall this be asked again, and when."""

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from walltrack.core import validation
from walltrack.core.backoff import Backoff, Random
from walltrack.core.delivery import Delivery
from walltrack.core.events import StopReason
from walltrack.core.outcome import TRANSIENT_ERRORS, valid_errors
from walltrack.core.statuses import DEFAULT_RETRY_STATUSES, valid_statuses

NonIdempotent = Literal["keyed", "proven", "always", "never"]

IDEMPOTENT_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that may be repeated without acting twice (RFC 9110, section 9.2.2)."""

_REFUSED_STATUSES: Final = frozenset({429, 503})
"""Statuses by which a server says that it did not act."""


class Attempt(NamedTuple):
    """What is known of an attempt that failed in a way worth another one.

    Args:
        number: Which attempt of the call it was, from 1.
        method: HTTP method, in capitals.
        delivery: Whether the server can have acted on it.
        status: Status of the response; None when there was none.
        retry_after: Seconds the server asked to wait; None when it did not.
        replayable: Whether the request's body can be sent once more.
        shut: Whether the way to the server is shut.
        time_left: Seconds until the call's deadline.
        previous_delay: Seconds waited by backoff before this attempt; 0.0 before the first.
    """

    number: int
    method: str
    delivery: Delivery
    status: int | None = None
    retry_after: float | None = None
    replayable: bool = True
    shut: bool = False
    time_left: float = math.inf
    previous_delay: float = 0.0


class Wait(NamedTuple):
    """Ask again after waiting.

    Args:
        delay: Seconds to wait.
        backoff: The share of the backoff in it, in seconds; the next one may grow from there.
    """

    delay: float
    backoff: float


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a request is made again.

    Args:
        max_retries: How many attempts may follow the first one; 0 turns retries off.
        backoff: How long to wait in between.
        statuses: Responses with these are worth another attempt. Default: 429 and every 5xx.
        exceptions: So are these. Default: timeouts, network and proxy errors, and breaches of the
            protocol by the server. A rejection made in this library or a certificate that fails
            verification is never retried, whatever stands here.
        max_retry_after: The longest Retry-After that is waited for, in seconds; a longer one ends
            the call with that response.
        non_idempotent: What happens to POST, PATCH and any other method that may act twice.
            "keyed": retried like the others, with an Idempotency-Key header, the same on every
            attempt, so that a server that honours it acts once. "proven": retried only when the
            server cannot have acted, that is when nothing was sent or it answered 429 or 503.
            "always": retried like the others, without a key. "never": not retried.

    Raises:
        TypeError: An argument is of another type.
        ValueError: A number is negative or NaN, or a name or a status is unknown.
    """

    max_retries: int = 3
    backoff: Backoff = Backoff()
    statuses: AbstractSet[int] = DEFAULT_RETRY_STATUSES
    exceptions: tuple[type[Exception], ...] = TRANSIENT_ERRORS
    max_retry_after: float = 60.0
    non_idempotent: NonIdempotent = "keyed"

    def __post_init__(self) -> None:
        validation.integer("max_retries", self.max_retries, minimum=0)
        validation.instance("backoff", self.backoff, Backoff)
        validation.number("max_retry_after", self.max_retry_after, finite=False)
        validation.choice("non_idempotent", self.non_idempotent, get_args(NonIdempotent))
        object.__setattr__(self, "statuses", valid_statuses("statuses", self.statuses))
        object.__setattr__(self, "exceptions", valid_errors("exceptions", self.exceptions))

    def wants_key(self, method: str) -> bool:
        """Whether requests of `method` carry an Idempotency-Key under this policy."""
        return (
            self.non_idempotent == "keyed"
            and method not in IDEMPOTENT_METHODS
            and self.max_retries > 0
        )

    def decide(self, attempt: Attempt, rng: Random) -> Wait | StopReason:
        """Whether to ask again after `attempt`, and when.

        Args:
            attempt: What is known of the attempt that failed.
            rng: Source of randomness for the backoff's jitter.
        """
        # A reason that would hold at any time goes before one that may pass.
        if attempt.number > self.max_retries:
            return StopReason.RETRIES_EXHAUSTED
        if not self._may_repeat(attempt):
            return StopReason.METHOD_NOT_RETRIED
        if not attempt.replayable:
            return StopReason.BODY_CANNOT_REPLAY
        if attempt.shut:
            return StopReason.CIRCUIT_OPEN
        asked_for = attempt.retry_after or 0.0
        if asked_for > self.max_retry_after:
            return StopReason.RETRY_AFTER_TOO_LONG
        backoff = self.backoff.delay(attempt.number - 1, attempt.previous_delay, rng)
        wait = Wait(delay=max(backoff, asked_for), backoff=backoff)
        return wait if wait.delay < attempt.time_left else StopReason.DEADLINE_TOO_CLOSE

    def _may_repeat(self, attempt: Attempt) -> bool:
        if attempt.method in IDEMPOTENT_METHODS:
            return True
        if self.non_idempotent == "proven":
            return attempt.delivery is Delivery.NOT_SENT or attempt.status in _REFUSED_STATUSES
        return self.non_idempotent != "never"
