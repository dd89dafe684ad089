"""OpenAI and compatible APIs: a 429 means "slow down" or "no credit left"."""

from http import HTTPStatus
from typing import Final

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

_USED_UP: Final = frozenset(
    {
        # OpenAI
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
        "billing_hard_limit_reached",
        "billing_not_active",
        # Anthropic
        "billing_error",
        "enforced_spend_limit_reached",
    }
)

_RETRIED_BY_THEIR_CLIENTS: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT})


def openai(outcome: Outcome) -> Classification | None:
    """Classify a response of OpenAI's API, or of a compatible one.

    An exhausted quota or credit is final, with any status, and not a failure of the service. Any
    other 429 is a rate limit that lasts as long as the headers state: `retry-after-ms`,
    `retry-after`, or the reset of the requests or tokens that are used up. `x-should-retry` decides
    whether to retry. Without it, 408, 409 and every 5xx (including 529, "overloaded") are retried,
    as in the clients of OpenAI and Anthropic.

    See https://developers.openai.com/api/docs/guides/error-codes,
    https://developers.openai.com/api/docs/guides/rate-limits and, for `x-should-retry` and the
    statuses, https://github.com/openai/openai-python#retries.
    """
    status = outcome.status
    if status is None or status < FIRST_ERROR:
        return None
    if status == HTTPStatus.PAYMENT_REQUIRED or not _USED_UP.isdisjoint(_codes_of(outcome)):
        return FINAL
    said = should_retry(outcome.headers)
    wait = wait_of(outcome)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return FINAL if said is False else rate_limited(wait)
    if said is None and status in _RETRIED_BY_THEIR_CLIENTS:
        said = True
    return None if said is None and wait is None else Classification(retry=said, retry_after=wait)


def _codes_of(outcome: Outcome) -> set[str]:
    error = error_of(outcome)
    details = error.get("details")
    codes = {text_in(error, "code"), text_in(error, "type")}
    return codes | {text_in(details, "error_code")} if isinstance(details, dict) else codes
