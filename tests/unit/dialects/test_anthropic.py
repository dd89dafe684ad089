import pytest

from tests.unit.dialects.answers import FINAL, answer, limited
from walltrack.core.classification import Classification
from walltrack.dialects import anthropic


def error(kind: str, **more: object) -> dict[str, object]:
    """A body in the format of https://platform.claude.com/docs/en/api/errors, "Error shapes"."""
    return {
        "type": "error",
        "error": {"type": kind, "message": "…", **more},
        "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
    }


# https://platform.claude.com/docs/en/api/rate-limits, "Response headers"
QUOTAS = {
    "date": "Thu, 21 Aug 2025 12:41:00 GMT",
    "anthropic-ratelimit-requests-limit": "1000",
    "anthropic-ratelimit-requests-remaining": "999",
    "anthropic-ratelimit-requests-reset": "2025-08-21T12:41:00Z",
    "anthropic-ratelimit-input-tokens-limit": "80000",
    "anthropic-ratelimit-input-tokens-remaining": "0",
    "anthropic-ratelimit-input-tokens-reset": "2025-08-21T12:41:42Z",
}


@pytest.mark.parametrize(
    ("headers", "wait"), [({"retry-after": "12"} | QUOTAS, 12.0), (QUOTAS, 42.0), ({}, None)]
)
def test_a_rate_limit_lasts_as_long_as_the_headers_say(
    headers: dict[str, str], wait: float | None
) -> None:
    """retry-after is used before the reset of the quota that has nothing left."""
    assert anthropic(answer(429, headers, error("rate_limit_error"))) == limited(wait)


def test_a_spend_limit_that_is_reached_is_final() -> None:
    """It looks like a rate limit, has no retry-after, and lasts until the next month."""
    details = {"error_code": "enforced_spend_limit_reached"}
    assert anthropic(answer(429, QUOTAS, error("rate_limit_error", details=details))) == FINAL
    assert anthropic(answer(402, body=error("billing_error"))) == FINAL


@pytest.mark.parametrize("details", [None, "text", {}, {"error_code": None}, {"error_code": "x"}])
def test_other_details_change_nothing(details: object) -> None:
    """A 429 is a rate limit unless its details state something else."""
    assert anthropic(answer(429, body=error("rate_limit_error", details=details))) == limited(None)


def test_an_overloaded_api_has_failed() -> None:
    """529 is a 5xx like any other: retried, and counted by a circuit breaker."""
    assert anthropic(answer(529, body=error("overloaded_error"))) is None
    assert anthropic(answer(529, {"x-should-retry": "true"}, error("overloaded_error"))) == (
        Classification(retry=True)
    )


def test_what_is_wrong_with_a_request_is_left_to_the_table() -> None:
    """Another attempt would get the same answer."""
    assert anthropic(answer(400, body=error("invalid_request_error"))) is None
