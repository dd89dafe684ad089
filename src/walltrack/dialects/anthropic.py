"""Anthropic: the same rules as OpenAI's, with names of its own."""

from walltrack.core.classification import Classification, Outcome
from walltrack.dialects.openai import openai


def anthropic(outcome: Outcome) -> Classification | None:
    """Say what a response of the Claude API means.

    A 402 `billing_error`, and a 429 whose `error.details.error_code` says that the monthly spend
    limit is reached, are final and no failures of the service. Any other 429 is a rate limit for as
    long as `retry-after` says, or the reset of the `anthropic-ratelimit-` quota of which nothing is
    left. A 529, "overloaded", is a failure of the service that is retried like any 5xx.

    See https://platform.claude.com/docs/en/api/errors and
    https://platform.claude.com/docs/en/api/rate-limits.
    """
    return openai(outcome)
