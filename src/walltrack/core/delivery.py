"""Could the server have acted on a request? The question that matters before asking twice."""

import enum


class Delivery(enum.StrEnum):
    """How far one attempt is known to have come."""

    NOT_SENT = "not_sent"
    """No byte of the request reached the server: asking again cannot act twice."""

    UNCERTAIN = "uncertain"
    """The server may or may not have acted on the request."""

    ANSWERED = "answered"
    """The server sent a response: it decided what to do."""
