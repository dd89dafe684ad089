"""Whether a failed attempt is retried, and after which delay."""

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, NamedTuple, get_args

from walltrack.core import validation
from walltrack.core.backoff import Backoff, Random
from walltrack.core.delivery import Delivery
from walltrack.core.events import StopReason
from walltrack.core.methods import IDEMPOTENT_METHODS, valid_methods
from walltrack.core.naming import finite
from walltrack.core.outcome import TRANSIENT_ERRORS, may_have_acted, valid_errors
from walltrack.core.statuses import DEFAULT_RETRY_STATUSES, valid_statuses

NonIdempotent = Literal["keyed", "proven", "always", "never"]

CONFLICT: Final = 409
"""The status while the first request with the same Idempotency-Key is still in progress."""


class Attempt(NamedTuple):
    """What is known about an attempt that failed in a way worth another attempt.

    Args:
        number: The number of the attempt, from 1.
        method: HTTP method, in upper case.
        delivery: Whether the server can have acted on the attempt; UNCERTAIN also if it may have
            acted on an earlier one.
        status: Status of the response; None if there was no response.
        retry_after: Seconds that the server asked to wait; None if it did not ask.
        replayable: Whether the request's body can be sent again.
        in_progress: Whether an earlier attempt with the same Idempotency-Key may be in progress.
        shut: Whether an open circuit would reject the next attempt.
        time_left: Seconds until the call's deadline.
        previous_delay: Seconds of backoff before this attempt; 0.0 for the first one.
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
    """The decision to retry after a delay.

    Args:
        delay: Seconds to wait.
        backoff: The part of the delay that comes from the backoff, in seconds; the next backoff
            can grow from it.
    """

    delay: float
    backoff: float


@dataclass(frozen=True, slots=True, repr=False)
class RetryPolicy:
    """When a request is retried.

    Args:
        max_retries: Maximum number of retries after the first attempt; 0 turns retries off.
        backoff: How long to wait before each retry. `Retry-After` and `retry-after-ms` can make a
            wait longer, not shorter: they say when the server can be ready at the earliest (RFC
            9110, section 10.2.3), and do not know of the attempts that failed before.
        statuses: Responses with these statuses are retried. Default: 429 and every 5xx.
        exceptions: These exceptions are retried. Default: timeouts, network and proxy errors, and
            breaches of the protocol by the server. A rejection by this library, or a certificate
            that fails verification, is never retried, even if it is listed here.
        max_retry_after: The longest Retry-After to wait for, in seconds; a longer one ends the call
            with that response.
        non_idempotent: What happens to POST, PATCH and all other methods that are not idempotent.
            "proven": retried only if the server cannot have acted: nothing was sent, the server
            stated that it did not process the request, or the status is 429 or 503. "keyed":
            retried like other methods, with the same Idempotency-Key header on every attempt, so
            that a server that supports it acts only once. After an attempt that may have been
            processed, 409 means that it is in progress, and is retried as well
            (draft-ietf-httpapi-idempotency-key-header-07). The key is that of the call: whatever
            layer sends it again uses the same one, and so does the same `httpx.Request` object if
            it is sent again after a call that may have been processed and did not succeed.
            "always": retried like other methods, without a key. "never": not retried.
        idempotent_methods: Methods for which a repeated request has no further effect. Default: the
            idempotent ones of the IANA HTTP Method Registry.

    Raises:
        TypeError: An argument has another type.
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

    def describe(self) -> dict[str, Any]:
        """Return the settings, as JSON has them."""
        return {
            "max_retries": self.max_retries,
            "backoff": repr(self.backoff),
            "statuses": repr(self.statuses),
            "max_retry_after": finite(self.max_retry_after),
            "non_idempotent": self.non_idempotent,
        }

    def is_worth_retrying(self, status: int, *, in_progress: bool) -> bool:
        """Return whether a response with this status is worth another attempt.

        Args:
            status: The status.
            in_progress: Whether an earlier attempt with the same key may be in progress.
        """
        return status in self.statuses or (in_progress and status == CONFLICT)

    def wants_key(self, method: str) -> bool:
        """Return whether requests with `method` get an Idempotency-Key under this policy."""
        return (
            self.non_idempotent == "keyed"
            and method not in self.idempotent_methods
            and self.max_retries > 0
        )

    def decide(self, attempt: Attempt, rng: Random) -> Wait | StopReason:
        """Return the delay before a retry after `attempt`, or the reason why there is none.

        Args:
            attempt: What is known about the attempt that failed.
            rng: Source of randomness for the backoff's jitter.
        """
        # Permanent reasons come before temporary ones.
        if attempt.number > self.max_retries:
            return StopReason.RETRIES_EXHAUSTED if self.max_retries else StopReason.RETRIES_OFF
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
        if asked_for and self.backoff.jitter != "none":
            # Many callers may have to wait until the same time: spread them over one backoff.
            asked_for += rng.uniform(0.0, self.backoff.ceiling(retry))
        return Wait(max(backoff, asked_for), backoff)

    def _may_repeat(self, attempt: Attempt) -> bool:
        if attempt.method in self.idempotent_methods:
            return True
        if attempt.status == CONFLICT and attempt.in_progress:
            return True
        if self.non_idempotent == "proven":
            return attempt.delivery is not Delivery.UNCERTAIN and not may_have_acted(
                attempt.delivery, attempt.status
            )
        return self.non_idempotent != "never"
