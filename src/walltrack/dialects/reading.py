"""What the dialects share: how to read an error response, and common classifications."""

import math
import re
import time
from typing import Any, Final

from walltrack.core.classification import Classification, Outcome
from walltrack.core.delivery import Delivery
from walltrack.http.wait_hints import asked_to_wait

FIRST_ERROR: Final = 400
"""Responses with a lower status are not errors."""

FINAL: Final = Classification(retry=False, failure=False)
"""The same request would get the same response, and the service works."""

_XML_CODE: Final = re.compile(rb"<Code>\s*+([\w.]{1,100}+)\s*+</Code>")


def rate_limited(wait: float | None) -> Classification:
    """Return the classification of a rate limit: send the request again after `wait` seconds.

    The service works, so no circuit opens, and it did not act on the request.
    """
    return Classification(retry=True, failure=False, retry_after=wait, delivery=Delivery.NOT_SENT)


def wait_of(outcome: Outcome) -> float | None:
    """Return for how many seconds a response asks to wait; None if it does not."""
    # The clock is used only if the response has no Date.
    ask = asked_to_wait(outcome.headers.raw, time.time(), refused=True, at_most=math.inf)
    return None if ask is None else ask.seconds


def object_of(outcome: Outcome) -> dict[str, Any]:
    """Return the JSON object in the body; an empty one if there is none."""
    body = outcome.json()
    return body if isinstance(body, dict) else {}


def error_of(outcome: Outcome) -> dict[str, Any]:
    """Return the object that a JSON body has as its `error`; an empty one if it has none."""
    error = object_of(outcome).get("error")
    return error if isinstance(error, dict) else {}


def text_in(error: dict[str, Any], name: str) -> str:
    """Return the text that an object has under `name`; an empty one if it has none."""
    value = error.get(name)
    return value if isinstance(value, str) else ""


def xml_code_of(outcome: Outcome) -> str:
    """Return the text of the first `<Code>` in an XML body; an empty one if there is none."""
    body = outcome.content or b""
    found = _XML_CODE.search(body) if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else None
    return found[1].decode("ascii", "replace") if found else ""
