import httpx
import pytest

from tests.support import get
from tests.unit.dialects.answers import FINAL, answer, limited
from walltrack.core.classification import Classification, Outcome
from walltrack.dialects import openai

# https://developers.openai.com/api/docs/guides/error-codes
EXCEEDED_QUOTA = {
    "error": {
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "type": "insufficient_quota",
        "param": None,
        "code": "insufficient_quota",
    }
}
RATE_LIMIT = {
    "error": {
        "message": "Rate limit reached for gpt-4o in organization org-x on requests per min (RPM).",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    }
}
OVERLOADED = {
    "error": {
        "message": "The model does not have enough capacity right now.",
        "type": "service_unavailable_error",
        "code": "server_is_overloaded",
    }
}
# https://developers.openai.com/api/docs/guides/rate-limits, "Rate limits in headers"
QUOTAS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-reset-tokens": "6m0s",
}


def test_an_exhausted_quota_is_final() -> None:
    """Waiting does not restore credit, and the service has not failed."""
    assert openai(answer(429, QUOTAS, EXCEEDED_QUOTA)) == FINAL
    assert openai(answer(429, {"retry-after": "1", "x-should-retry": "true"}, EXCEEDED_QUOTA)) == (
        FINAL
    )


@pytest.mark.parametrize(
    "code",
    [
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    ],
)
@pytest.mark.parametrize("type_", ["insufficient_quota", "requests", None])
def test_each_billing_code_is_final(code: str, type_: str | None) -> None:
    """Retrying a billing, spending or quota error does not restore access, as its code tells."""
    assert openai(answer(429, body={"error": {"type": type_, "code": code}})) == FINAL


@pytest.mark.parametrize("status", [400, 402, 403, 429])
def test_a_limit_on_spending_is_final_with_any_status(status: int) -> None:
    """Some endpoints refuse with 400."""
    body = {"error": {"code": "billing_hard_limit_reached", "type": "invalid_request_error"}}
    assert openai(answer(status, body=body)) == FINAL
    assert openai(answer(status, body={"error": {"type": "insufficient_quota"}})) == FINAL


@pytest.mark.parametrize("kind", ["billing_not_active", "billing_error"])
def test_an_account_that_cannot_pay_is_final(kind: str) -> None:
    """The error type alone is enough."""
    assert openai(answer(429, body={"error": {"type": kind, "code": None}})) == FINAL


def test_a_402_is_final_whatever_it_says() -> None:
    """Similar APIs send it when the credit is used up, each with its own text."""
    assert openai(answer(402, body={"error": {"message": "Insufficient Balance"}})) == FINAL
    assert openai(answer(402)) == FINAL


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        (QUOTAS, None),
        (QUOTAS | {"x-ratelimit-remaining-requests": "0"}, 1.0),
        (QUOTAS | {"x-ratelimit-remaining-tokens": "0"}, 360.0),
        (QUOTAS | {"x-ratelimit-remaining-tokens": "0", "retry-after": "2"}, 2.0),
        ({"x-should-retry": "true"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("body", [RATE_LIMIT, None])
def test_a_rate_limit_lasts_as_long_as_the_headers_say(
    headers: dict[str, str], wait: float | None, body: object
) -> None:
    """A 429 that is not about credit ends after some time, and is no failure of the service."""
    assert openai(answer(429, headers, body)) == limited(wait)


def test_x_should_retry_ends_the_call() -> None:
    """The header is more reliable than the status."""
    assert openai(answer(429, {"x-should-retry": "false"}, RATE_LIMIT)) == FINAL
    assert openai(answer(503, {"x-should-retry": "false"}, OVERLOADED)) == (
        Classification(retry=False)
    )


@pytest.mark.parametrize("status", [400, 409, 500, 503])
def test_x_should_retry_asks_for_another_attempt(status: int) -> None:
    """With any status, and after the time in the headers."""
    headers = {"x-should-retry": "true", "retry-after": "2"}
    assert openai(answer(status, headers)) == Classification(retry=True, retry_after=2.0)


@pytest.mark.parametrize("status", [408, 409])
def test_what_their_own_clients_retry_is_retried(status: int) -> None:
    """https://github.com/openai/openai-python#retries: 408, 409, 429 and 5xx."""
    assert openai(answer(status)) == Classification(retry=True)


@pytest.mark.parametrize("status", [500, 503, 529])
def test_an_overloaded_service_has_failed(status: int) -> None:
    """The table covers every 5xx; only the time to wait is added."""
    assert openai(answer(status, body=OVERLOADED)) is None
    assert openai(answer(status, {"retry-after": "5"}, OVERLOADED)) == (
        Classification(retry_after=5.0)
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
@pytest.mark.parametrize("body", [None, {"error": "text"}, {"error": {"code": None, "type": 5}}])
def test_what_is_wrong_with_a_request_is_left_to_the_table(status: int, body: object) -> None:
    """Another attempt would get the same answer."""
    assert openai(answer(status, body=body)) is None


def test_what_succeeded_or_was_not_answered_is_left_to_the_table() -> None:
    """This holds with a used-up quota, too."""
    assert openai(answer(200, QUOTAS | {"x-ratelimit-remaining-requests": "0"})) is None
    assert openai(Outcome(get(), error=httpx.ReadTimeout("slow"))) is None
