import httpx
import pytest

from tests.support import get
from tests.unit.dialects.answers import FINAL, answer, limited
from walltrack.core.classification import Classification, Outcome
from walltrack.dialects import stripe

# https://docs.stripe.com/rate-limits, "Object lock timeouts"
LOCK_TIMEOUT = {
    "error": {
        "type": "invalid_request_error",
        "code": "lock_timeout",
        "message": "This object can't be accessed right now because another API request or Stripe "
        "process is currently accessing it.",
    }
}
RATE_LIMIT = {"error": {"type": "invalid_request_error", "code": "rate_limit"}}
# https://docs.stripe.com/error-codes#idempotency-key-in-use
IN_USE = {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}}
# https://docs.stripe.com/api/errors#errors-type
KEY_REUSED = {
    "error": {
        "type": "idempotency_error",
        "message": "Keys for idempotent requests can only be used with the same parameters they "
        "were first used with.",
    }
}
DECLINED = {"error": {"type": "card_error", "code": "card_declined"}}


@pytest.mark.parametrize("body", [LOCK_TIMEOUT, RATE_LIMIT, None])
def test_a_429_is_retried(body: object) -> None:
    """For rate limits and lock timeouts, the documentation recommends retries with backoff."""
    assert stripe(answer(429, {"Stripe-Rate-Limited-Reason": "global-rate"}, body)) == limited(None)
    assert stripe(answer(429, {"Stripe-Should-Retry": "true"}, body)) == limited(None)
    assert stripe(answer(429, {"Retry-After": "2"}, body)) == limited(2.0)


@pytest.mark.parametrize("body", [LOCK_TIMEOUT, IN_USE, None])
def test_a_409_is_retried(body: object) -> None:
    """The request conflicts with an unfinished one, perhaps its own first attempt."""
    conflict = Classification(retry=True, failure=False)
    assert stripe(answer(409, body=body)) == conflict
    assert stripe(answer(409, {"Stripe-Should-Retry": "true"}, body)) == conflict


def test_a_key_that_was_used_for_another_request_is_final() -> None:
    """A repetition keeps the parameters, which differ from those of the first request."""
    assert stripe(answer(400, body=KEY_REUSED)) == FINAL


@pytest.mark.parametrize("status", [400, 402, 424, 500, 502])
def test_stripe_decides_where_it_knows(status: int) -> None:
    """https://docs.stripe.com/error-low-level, "The Stripe-Should-Retry header".

    A 500 that will not change is still a failure of the service.
    """
    for value, retry in (("true", True), ("false", False)):
        headers = {"Stripe-Should-Retry": value, "Retry-After": "2"}
        assert stripe(answer(status, headers, DECLINED)) == (
            Classification(retry=retry, retry_after=2.0)
        )


@pytest.mark.parametrize("status", [409, 429])
def test_stripe_may_end_what_would_be_retried(status: int) -> None:
    """A retry would have no further effect."""
    assert stripe(answer(status, {"Stripe-Should-Retry": "false"}, LOCK_TIMEOUT)) == FINAL


@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 404, 500, 503])
@pytest.mark.parametrize("headers", [{}, {"Stripe-Should-Retry": "maybe"}])
def test_anything_else_is_left_to_the_table(status: int, headers: dict[str, str]) -> None:
    """A declined card is a normal answer, and a 5xx is a failure that is retried."""
    assert stripe(answer(status, headers, DECLINED)) is None


def test_an_attempt_without_a_response_is_left_to_the_table() -> None:
    """The dialect only reads responses."""
    assert stripe(Outcome(get(), error=httpx.ReadTimeout("slow"))) is None
