"""Responses as vendors document them."""

import json
from collections.abc import Mapping

import httpx

from tests.support import post
from walltrack.core.classification import Classification, Outcome
from walltrack.core.delivery import Delivery

NOT_ACTED_ON = Delivery.NOT_SENT
FINAL = Classification(retry=False, failure=False)


def answer(
    status: int,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    *,
    attempt: int = 1,
) -> Outcome:
    """The outcome of an attempt with this response; a body that is not text is sent as JSON."""
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    response = httpx.Response(status, headers=headers)
    return Outcome(post(), response, attempt=attempt, content=None if body is None else content)


def limited(wait: float | None) -> Classification:
    """The classification of a rate limit that lasts `wait` seconds."""
    return Classification(True, False, wait, NOT_ACTED_ON)
