import ssl

import anyio
import httpx
import pytest

from tests.support import get
from walltrack import (
    CircuitBreakerOpenError,
    RateLimitError,
    ResponseTooLargeError,
    RetryPolicy,
    StopReason,
    TransportClosedError,
)
from walltrack.core.classification import UNCLASSIFIED, Classification
from walltrack.http.waits import Waits
from walltrack.retry.call import Call
from walltrack.retry.reasons import why_final, why_lost


def call_of(ended: httpx.Response | Exception, said: Classification = UNCLASSIFIED) -> Call:
    """A call whose first attempt ended so."""
    call = Call(get(), get(), RetryPolicy(), ended, Waits())
    call.conclude(said)
    return call


def caused_by(cause: BaseException) -> httpx.ReadError:
    """An error of httpx with a cause."""
    error = httpx.ReadError("broken")
    error.__cause__ = cause
    return error


DECLINED = httpx.Response(503, headers={"x-should-retry": "false"})
FINAL = Classification(retry=False)
FAILED = Classification(failure=True)


@pytest.mark.parametrize(
    ("ended", "said", "reason"),
    [
        (httpx.Response(200), UNCLASSIFIED, None),
        (httpx.Response(302), FINAL, None),
        (httpx.Response(404), UNCLASSIFIED, StopReason.STATUS_NOT_RETRIED),
        (httpx.Response(400), UNCLASSIFIED, StopReason.STATUS_NOT_RETRIED),
        (httpx.Response(200), FAILED, StopReason.STATUS_NOT_RETRIED),
        (httpx.Response(200), Classification(retry=False, failure=True), "classified_as_final"),
        (httpx.Response(503), FINAL, StopReason.CLASSIFIED_AS_FINAL),
        (httpx.ReadError("broken"), FINAL, StopReason.CLASSIFIED_AS_FINAL),
        (DECLINED, UNCLASSIFIED, StopReason.SERVER_DECLINED),
        (DECLINED, FINAL, StopReason.CLASSIFIED_AS_FINAL),
        (httpx.UnsupportedProtocol("x"), UNCLASSIFIED, StopReason.ERROR_NOT_RETRIED),
        (caused_by(ssl.SSLCertVerificationError("x")), UNCLASSIFIED, StopReason.BAD_CERTIFICATE),
        (caused_by(anyio.ClosedResourceError()), UNCLASSIFIED, StopReason.CLOSED_LOCALLY),
        (TransportClosedError("x"), UNCLASSIFIED, StopReason.TRANSPORT_CLOSED),
        (CircuitBreakerOpenError("x"), UNCLASSIFIED, StopReason.CIRCUIT_OPEN),
        (RateLimitError("x"), UNCLASSIFIED, StopReason.REQUEST_REJECTED),
        (ResponseTooLargeError("x", 7), UNCLASSIFIED, StopReason.RESPONSE_TOO_LARGE),
    ],
)
def test_what_ended_an_attempt_says_why_it_is_final(
    ended: httpx.Response | Exception, said: Classification, reason: StopReason | None
) -> None:
    """A success has no reason; a classifier decides first, then the server, then the kind."""
    assert why_final(call_of(ended, said)) == reason


@pytest.mark.parametrize(
    ("error", "left", "reason"),
    [
        (KeyboardInterrupt(), 1.0, StopReason.CANCELLED),
        (KeyboardInterrupt(), 0.0, StopReason.DEADLINE_PASSED),
        (TransportClosedError("x"), 0.0, StopReason.TRANSPORT_CLOSED),
        (ZeroDivisionError(), 1.0, StopReason.ERROR_NOT_RETRIED),
    ],
)
def test_a_call_that_is_lost_says_why(
    error: BaseException, left: float, reason: StopReason
) -> None:
    """A cancellation at the deadline is the deadline's."""
    assert why_lost(error, left) is reason
