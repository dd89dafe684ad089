import httpx
import pytest

from tests.support import get
from tests.unit.dialects.answers import FINAL, answer, limited
from walltrack.core.classification import Outcome
from walltrack.dialects import github

# https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api,
# "Checking the status of your rate limit" and "Exceeding the rate limit". The values are those of
# the example that the page had for years.
DATE = {"Date": "Tue, 20 Aug 2013 14:50:41 GMT"}
USED_UP = DATE | {
    "x-ratelimit-limit": "60",
    "x-ratelimit-remaining": "0",
    "x-ratelimit-used": "60",
    "x-ratelimit-reset": "1377013266",
    "x-ratelimit-resource": "core",
}
SOME_LEFT = USED_UP | {"x-ratelimit-remaining": "59"}
EXCEEDED = {"message": "API rate limit exceeded for 192.0.2.1.", "documentation_url": "https://…"}
SECONDARY = {
    "message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try "
    "again.",
    "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"
    "#about-secondary-rate-limits",
}
NOT_ALLOWED = {
    "message": "Resource not accessible by integration",
    "documentation_url": "https://…",
}


@pytest.mark.parametrize("status", [403, 429])
def test_an_exceeded_primary_limit_lasts_until_its_reset(status: int) -> None:
    """No request is sent until the time in x-ratelimit-reset, by the response's clock."""
    assert github(answer(status, USED_UP, EXCEEDED)) == limited(3025.0)


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("body", [SECONDARY, None])
def test_a_secondary_limit_lasts_as_long_as_retry_after_says(status: int, body: object) -> None:
    """The header is enough, and is used before the reset of the primary limit."""
    assert github(answer(status, {"retry-after": "30"} | SOME_LEFT, body)) == limited(30.0)
    assert github(answer(status, {"retry-after": "30"} | USED_UP, body)) == limited(30.0)


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize(
    ("attempt", "wait"), [(1, 60.0), (2, 120.0), (3, 240.0), (0, 60.0), (9999, 61_440.0)]
)
def test_a_limit_without_a_time_lasts_a_minute_that_doubles(
    status: int, attempt: int, wait: float
) -> None:
    """At least one minute, and exponentially longer if the request continues to fail."""
    assert github(answer(status, SOME_LEFT, SECONDARY, attempt=attempt)) == limited(wait)


def test_every_429_is_a_rate_limit() -> None:
    """GitHub uses 429 for nothing else, even if headers and message are missing."""
    assert github(answer(429)) == limited(60.0)
    assert github(answer(429, SOME_LEFT, NOT_ALLOWED)) == limited(60.0)


@pytest.mark.parametrize("headers", [{}, SOME_LEFT])
@pytest.mark.parametrize("body", [NOT_ALLOWED, None, "<html>", ["secondary rate limit"]])
def test_a_plain_403_is_final(headers: dict[str, str], body: object) -> None:
    """Missing permissions do not return by themselves, and the service has not failed."""
    assert github(answer(403, headers, body)) == FINAL


def test_a_quota_of_which_nothing_is_left_is_a_limit_without_a_reset() -> None:
    """Without a readable time it is waited for like a secondary limit."""
    assert github(answer(403, {"x-ratelimit-remaining": "0"}, EXCEEDED)) == limited(60.0)


# https://docs.github.com/graphql/overview/rate-limits-and-node-limits-for-the-graphql-api,
# "Exceeding the rate limit": the status is 200, and there is an error message.
RATE_LIMITED = {
    "errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded for user ID 1."}]
}


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        (USED_UP, RATE_LIMITED, 3025.0),
        (SOME_LEFT, {"data": None, "errors": [{"message": SECONDARY["message"]}]}, 60.0),
        ({"retry-after": "30"}, {"errors": [5, {"message": SECONDARY["message"]}]}, 30.0),
        (SOME_LEFT, {"errors": [{"type": "NOT_FOUND"}, {"type": "RATE_LIMITED"}]}, 60.0),
    ],
)
def test_graphql_answers_200_to_a_request_over_the_limit(
    headers: dict[str, str], body: object, wait: float
) -> None:
    """The errors in the body tell, and the headers have the time."""
    assert github(answer(200, headers, body)) == limited(wait)


@pytest.mark.parametrize(
    "body",
    [
        None,
        {"data": {"viewer": {"login": "octocat"}}},
        {"data": {"title": "secondary rate limit"}},
        {"errors": [{"type": "NOT_FOUND", "message": "Could not resolve to a Repository"}]},
        {"errors": "secondary rate limit"},
        {"errors": [None, "RATE_LIMITED", {"type": 5, "message": ["secondary rate limit"]}]},
        '"errors"',
    ],
)
def test_any_other_200_is_left_to_the_table(body: object) -> None:
    """This includes the last response within the quota, and one with errors of another kind."""
    assert github(answer(200, USED_UP, body)) is None


@pytest.mark.parametrize("status", [201, 304, 401, 404, 422, 500, 502, 503])
def test_other_statuses_are_left_to_the_table(status: int) -> None:
    """GitHub uses these with their usual meaning."""
    assert github(answer(status, USED_UP, SECONDARY)) is None


def test_an_attempt_without_a_response_is_left_to_the_table() -> None:
    """The dialect only reads responses."""
    assert github(Outcome(get(), error=httpx.ReadTimeout("slow"))) is None
