"""Whether the server can have acted on a request: this decides if it is safe to send it again."""

import enum


class Delivery(enum.StrEnum):
    """What is known about the delivery of one attempt."""

    NOT_SENT = "not_sent"
    """The server received nothing of the request: it is safe to send it again."""

    UNCERTAIN = "uncertain"
    """The server may or may not have acted on the request."""

    ANSWERED = "answered"
    """The server sent a response."""
