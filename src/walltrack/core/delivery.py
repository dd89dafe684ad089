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


def of_all(*deliveries: Delivery | None) -> Delivery | None:
    """Return what is known of several attempts together: the least certain of `deliveries`."""
    known = (Delivery.UNCERTAIN, Delivery.ANSWERED, Delivery.NOT_SENT)
    return next((delivery for delivery in known if delivery in deliveries), None)
