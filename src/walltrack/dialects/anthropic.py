"""Anthropic: the rules are those of OpenAI, but the names differ."""

from walltrack.core.classification import Classification, Outcome
from walltrack.dialects.openai import openai


def anthropic(outcome: Outcome) -> Classification | None:
    """Classify a response of the Claude API.

    A 402 `billing_error` is final, and so is a 429 whose `error.details.error_code` states that the
    monthly spend limit is reached; neither is a failure of the service. Any other 429 is a rate
    limit: it lasts as long as `retry-after` states, or until the reset of the
    `anthropic-ratelimit-` quota that is used up. A 529, "overloaded", is a failure of the service
    that is retried like any 5xx.

    See https://platform.claude.com/docs/en/api/errors and
    https://platform.claude.com/docs/en/api/rate-limits.
    """
    return openai(outcome)
