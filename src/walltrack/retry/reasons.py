"""Why a call ends without another attempt, also where another attempt would not help."""

from typing import Final

from walltrack.core import causes
from walltrack.core.events import StopReason
from walltrack.core.exceptions import (
    CircuitBreakerOpenError,
    RequestRejectedError,
    ResponseTooLargeError,
    TransportClosedError,
)
from walltrack.http.wait_hints import should_retry
from walltrack.retry.call import Call

_ERRORS: Final = 400

_OF_CLASSES: Final = (
    (TransportClosedError, StopReason.TRANSPORT_CLOSED),
    (CircuitBreakerOpenError, StopReason.CIRCUIT_OPEN),
    (RequestRejectedError, StopReason.REQUEST_REJECTED),
    (ResponseTooLargeError, StopReason.RESPONSE_TOO_LARGE),
)
"""The reasons by the class of the exception; the first that fits counts."""


def why_final(call: Call) -> StopReason | None:
    """Return why another attempt would not help; None if the last attempt did not fail."""
    response = call.response
    if response is not None and response.status_code < _ERRORS and not call.said.failure:
        return None
    if call.said.retry is not None:
        return StopReason.CLASSIFIED_AS_FINAL
    if call.error is not None:
        return _why_not_again(call.error)
    declined = response is not None and should_retry(response.headers) is False
    return StopReason.SERVER_DECLINED if declined else StopReason.STATUS_NOT_RETRIED


def why_lost(error: BaseException, time_left: float) -> StopReason:
    """Return why a call ended while it waited or was in flight.

    Args:
        error: What ended it.
        time_left: Seconds until the deadline of the call.
    """
    if isinstance(error, Exception):
        return _why_not_again(error)
    return StopReason.DEADLINE_PASSED if time_left <= 0.0 else StopReason.CANCELLED


def _why_not_again(error: Exception) -> StopReason:
    for kind, reason in _OF_CLASSES:
        if isinstance(error, kind):
            return reason
    if causes.is_bad_certificate(error):
        return StopReason.BAD_CERTIFICATE
    if causes.is_closed_locally(error):
        return StopReason.CLOSED_LOCALLY
    return StopReason.ERROR_NOT_RETRIED
