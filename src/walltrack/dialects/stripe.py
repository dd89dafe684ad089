"""Stripe: its responses often state whether a retry helps."""

from http import HTTPStatus

from walltrack.core.classification import Classification, Outcome
from walltrack.dialects.reading import (
    FINAL,
    FIRST_ERROR,
    error_of,
    rate_limited,
    text_in,
    wait_of,
)
from walltrack.http.wait_hints import should_retry


def stripe(outcome: Outcome) -> Classification | None:
    """Classify a response of Stripe's API.

    `Stripe-Should-Retry` decides whether to retry. Without it, a 409 is retried, since the request
    conflicts with another one or with its own first attempt, and a 429 is retried, whether it is a
    rate limit or a `lock_timeout`. An `idempotency_error` with any other status is final: the key
    was used for another request. None of these three is a failure of the service.

    See https://docs.stripe.com/error-low-level (idempotency, the Stripe-Should-Retry header, status
    codes), https://docs.stripe.com/rate-limits (object lock timeouts) and
    https://docs.stripe.com/api/errors (error types).
    """
    status = outcome.status
    if status is None or status < FIRST_ERROR:
        return None
    said = should_retry(outcome.headers, "stripe-should-retry")
    wait = wait_of(outcome)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return FINAL if said is False else rate_limited(wait)
    if status == HTTPStatus.CONFLICT:
        return FINAL if said is False else Classification(True, False, wait)
    if said is not None:
        return Classification(retry=said, retry_after=wait)
    return FINAL if text_in(error_of(outcome), "type") == "idempotency_error" else None
