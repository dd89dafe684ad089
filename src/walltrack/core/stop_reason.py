"""The reasons why there is no retry after a failed attempt."""

import enum
from typing import Final


class StopReason(enum.StrEnum):
    """Why there is no retry after a failed attempt."""

    # A retry could have helped.
    RETRIES_EXHAUSTED = "retries_exhausted"
    METHOD_NOT_RETRIED = "method_not_retried"
    BODY_CANNOT_REPLAY = "body_cannot_replay"
    CIRCUIT_OPEN = "circuit_open"
    RETRY_AFTER_TOO_LONG = "retry_after_too_long"
    BUDGET_EMPTY = "budget_empty"
    DEADLINE_TOO_CLOSE = "deadline_too_close"
    TRANSPORT_CLOSED = "transport_closed"

    # A retry would not have helped.
    STATUS_NOT_RETRIED = "status_not_retried"
    SERVER_DECLINED = "server_declined"
    """The response has `x-should-retry: false`."""
    CLASSIFIED_AS_FINAL = "classified_as_final"
    ERROR_NOT_RETRIED = "error_not_retried"
    BAD_CERTIFICATE = "bad_certificate"
    CLOSED_LOCALLY = "closed_locally"
    RESPONSE_TOO_LARGE = "response_too_large"
    REQUEST_REJECTED = "request_rejected"
    """A layer inside rejected the retry: see the `RequestRejected` before."""

    # The caller did not want or did not need one.
    RETRIES_OFF = "retries_off"
    CANCELLED = "cancelled"
    DEADLINE_PASSED = "deadline_passed"
    BODY_BROKE_OFF = "body_broke_off"
    """The body broke off while the caller read it, after a part of it was delivered."""


ORDINARY_STOPS: Final = frozenset(
    {
        StopReason.STATUS_NOT_RETRIED,
        StopReason.SERVER_DECLINED,
        StopReason.CLASSIFIED_AS_FINAL,
        StopReason.ERROR_NOT_RETRIED,
        StopReason.CLOSED_LOCALLY,
        StopReason.REQUEST_REJECTED,
        StopReason.RETRIES_OFF,
        StopReason.CANCELLED,
    }
)
"""Reasons that are part of normal operation, such as a 404; they are logged at level DEBUG."""
