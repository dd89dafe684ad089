"""GitHub: rate limits come as 403 or 429, and as 200 from the GraphQL API."""

from http import HTTPStatus
from typing import Final

from walltrack.core.classification import Classification, Outcome
from walltrack.dialects.reading import FINAL, object_of, rate_limited, text_in, wait_of

_MINUTE: Final = 60.0
_DOUBLINGS: Final = 10
"""How often the minute may double; more would exceed every limit on waiting."""


def github(outcome: Outcome) -> Classification | None:
    """Classify a response of GitHub's REST and GraphQL APIs.

    A 403 or 429 is a rate limit if it has a `retry-after`, `x-ratelimit-remaining: 0`, or a message
    about a secondary rate limit. So is a GraphQL 200 with an error that states a rate limit. The
    limit lasts as long as the headers state; without them, for one minute, doubled after each
    further attempt. Any other 403 is final.

    See https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api and
    https://docs.github.com/graphql/overview/rate-limits-and-node-limits-for-the-graphql-api, both
    under "Exceeding the rate limit".
    """
    match outcome.status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            limited = True
        case HTTPStatus.FORBIDDEN:
            limited = (
                "retry-after" in outcome.headers
                or outcome.headers.get("x-ratelimit-remaining") == "0"
                or _is_secondary(text_in(object_of(outcome), "message"))
            )
        case HTTPStatus.OK if _has_rate_limit_error(outcome):
            limited = True
        case _:
            return None
    return rate_limited(wait_of(outcome) or _without_headers(outcome)) if limited else FINAL


def _without_headers(outcome: Outcome) -> float:
    return _MINUTE * 2.0 ** min(max(outcome.attempt - 1, 0), _DOUBLINGS)


def _is_secondary(message: str) -> bool:
    return "secondary rate limit" in message.lower()


def _has_rate_limit_error(outcome: Outcome) -> bool:
    if b'"errors"' not in (outcome.content or b""):  # most responses have none, and are not parsed
        return False
    errors = object_of(outcome).get("errors")
    return isinstance(errors, list) and any(
        text_in(error, "type") == "RATE_LIMITED" or _is_secondary(text_in(error, "message"))
        for error in errors
        if isinstance(error, dict)
    )
