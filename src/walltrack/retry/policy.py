"""Shall this be asked again, and when."""

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import Final, Literal, NamedTuple, get_args

from walltrack.core import validation
from walltrack.core.backoff import Backoff, Random
from walltrack.core.delivery import Delivery
from walltrack.core.events import StopReason
from walltrack.core.methods import IDEMPOTENT_METHODS, valid_methods
from walltrack.core.outcome import TRANSIENT_ERRORS, valid_errors
from walltrack.core.statuses import DEFAULT_RETRY_STATUSES, valid_statuses

NonIdempotent = Literal["keyed", "proven", "always", "never"]

_REFUSED_STATUSES: Final = frozenset({429, 503})
"""Statuses by which a server says that it did not act."""

CONFLICT: Final = 409
"""What a server answers while the first request with the same Idempotency-Key is in progress."""


class Attempt(NamedTuple):
    """What is known of an attempt that failed in a way worth another one.

    Args:
        number: Which attempt of the call it was, from 1.
        method: HTTP method, in capitals.
        delivery: Whether the server can have acted on it.
        status: Status of the response; None when there was none.
        retry_after: Seconds the server asked to wait; None when it did not.
        replayable: Whether the request's body can be sent once more.
        in_progress: Whether an earlier attempt with the same Idempotency-Key may be in progress.
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
    in_progress: bool = False
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


@dataclass(frozen=True, slots=True, repr=False)
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
            "proven": retried only when the server cannot have acted, that is when nothing was sent,
            the server said that it did not process the request, or it answered 429 or 503.
            "keyed": retried like the others, with an Idempotency-Key header, the same on every
            attempt, so that a server that honours it acts once. After an attempt that may have been
            processed, 409 says that it is in progress, and is retried as well
            (draft-ietf-httpapi-idempotency-key-header-07). "always": retried like the others,
            without a key. "never": not retried.
        idempotent_methods: Methods that may be repeated without acting twice. Default: the
            idempotent ones of the IANA HTTP Method Registry.

    Raises:
        TypeError: An argument is of another type.
        ValueError: A number is negative or NaN, or a name or a status is unknown.
    """

    max_retries: int = 3
    backoff: Backoff = Backoff()
    statuses: AbstractSet[int] = DEFAULT_RETRY_STATUSES
    exceptions: tuple[type[Exception], ...] = TRANSIENT_ERRORS
    max_retry_after: float = 60.0
    non_idempotent: NonIdempotent = "proven"
    idempotent_methods: AbstractSet[str] = IDEMPOTENT_METHODS

    def __post_init__(self) -> None:
        validation.integer("max_retries", self.max_retries, minimum=0)
        validation.instance("backoff", self.backoff, Backoff)
        validation.number("max_retry_after", self.max_retry_after, finite=False)
        validation.choice("non_idempotent", self.non_idempotent, get_args(NonIdempotent))
        methods = valid_methods("idempotent_methods", self.idempotent_methods)
        object.__setattr__(self, "statuses", valid_statuses("statuses", self.statuses))
        object.__setattr__(self, "exceptions", valid_errors("exceptions", self.exceptions))
        object.__setattr__(self, "idempotent_methods", methods)

    def __repr__(self) -> str:
        values = ((field, getattr(self, field.name)) for field in fields(self))
        given = (f"{field.name}={value!r}" for field, value in values if value != field.default)
        return f"{type(self).__name__}({', '.join(given)})"

    def is_worth_retrying(self, status: int, *, in_progress: bool) -> bool:
        """Return whether a response of that status is worth another attempt.

        Args:
            status: The status.
            in_progress: Whether an earlier attempt with the same key may be in progress.
        """
        return status in self.statuses or (in_progress and status == CONFLICT)

    def wants_key(self, method: str) -> bool:
        """Whether requests of `method` carry an Idempotency-Key under this policy."""
        return (
            self.non_idempotent == "keyed"
            and method not in self.idempotent_methods
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
        wait = self._wait(attempt, asked_for, rng)
        return wait if wait.delay < attempt.time_left else StopReason.DEADLINE_TOO_CLOSE

    def _wait(self, attempt: Attempt, asked_for: float, rng: Random) -> Wait:
        retry = attempt.number - 1
        backoff = self.backoff.delay(retry, attempt.previous_delay, rng)
        delay = max(backoff, asked_for)
        if asked_for and self.backoff.jitter != "none":
            # Many callers were given the same moment: they are spread over one backoff after it.
            delay = asked_for + rng.uniform(0.0, self.backoff.ceiling(retry))
        return Wait(delay, backoff)

    def _may_repeat(self, attempt: Attempt) -> bool:
        if attempt.method in self.idempotent_methods:
            return True
        if attempt.status == CONFLICT and attempt.in_progress:
            return True
        if self.non_idempotent == "proven":
            return attempt.delivery is Delivery.NOT_SENT or attempt.status in _REFUSED_STATUSES
        return self.non_idempotent != "never"
