"""What the end of one attempt means: the outcome table, which all layers use.

what came back                                     retried  breaker counts  delivery
─────────────────────────────────────────────────  ───────  ──────────────  ─────────
2xx, 3xx, 4xx other than 429                       no       success         answered
429, 5xx (501 and 505: no failure)                 yes      failure         answered
ConnectError, ConnectTimeout, ProxyError           yes      failure         not sent
  ... a certificate that fails verification        no       failure         not sent
PoolTimeout, an HTTP/2 connection out of streams   yes      ignored         not sent
no file, port or memory left on this machine       yes      ignored         not sent
closed on this side while it was in use            no       ignored         per trace
ReadTimeout, WriteTimeout, ReadError, WriteError,  yes      failure         uncertain
CloseError, RemoteProtocolError, ssl.SSLError,
HTTP/2 violation by the server
  ... REFUSED_STREAM, GOAWAY below our stream      yes      failure         not sent
UnsupportedProtocol                                no       ignored         not sent
LocalProtocolError: a violation in our request     no       ignored         uncertain
RequestRejectedError, such as an open circuit      no       ignored         not sent
  ... WaitingRoomTimeoutError, a PoolTimeout       yes      ignored         not sent
cancelled by the caller                            no       ignored         uncertain
any other exception                                no       ignored         uncertain
"""

import enum
import ssl
from collections.abc import Collection
from typing import Final, TypeGuard

from walltrack.core import causes, family
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import (
    RequestRejectedError,
    ResponseTooLargeError,
    TransportClosedError,
    WaitingRoomTimeoutError,
)
from walltrack.core.named import shown_as
from walltrack.core.statuses import REFUSING_STATUSES

Errors = tuple[type[Exception], ...]

TRANSIENT_ERRORS: Final[Errors] = shown_as(
    "TRANSIENT_ERRORS",
    family.each(
        "TimeoutException",  # Connect-, Read-, Write- and PoolTimeout
        "NetworkError",  # Connect-, Read-, Write- and CloseError
        "ProxyError",
        "RemoteProtocolError",
    ),
)
"""Exceptions that may not occur again when the same request is sent again."""

NOT_SENT_ERRORS: Final[Errors] = family.each(
    "ConnectError",
    "ConnectTimeout",
    "ProxyError",
    "PoolTimeout",
    "UnsupportedProtocol",
    # Not LocalProtocolError: httpcore also raises it when an HTTP/2 server ends a half-sent upload.
)
"""Exceptions that httpcore raises only when it sent nothing."""

_NO_PLACE_IN_THE_POOL = family.each("PoolTimeout")
_DISGUISES = family.each("LocalProtocolError")

_OUR_OWN = (RequestRejectedError, ResponseTooLargeError)
"""Raised by this library, and not caused by the service. Its time limits count as timeouts."""


class Verdict(enum.Enum):
    """What one attempt shows about the health of the service."""

    SUCCESS = "success"
    FAILURE = "failure"
    NONE = "no verdict"


def is_of_service(error: BaseException) -> TypeGuard[Exception]:
    """Return whether `error` is the end of an attempt: no cancellation, and no rejection."""
    return isinstance(error, Exception) and not isinstance(error, _OUR_OWN)


def is_retryable(error: BaseException, transient: Errors = TRANSIENT_ERRORS) -> bool:
    """Return whether another attempt is likely to help after one that ended with `error`.

    Args:
        error: What the attempt raised.
        transient: The exceptions that are worth another attempt.
    """
    return (
        _counts_as(error, transient)
        and (not isinstance(error, _OUR_OWN) or isinstance(error, WaitingRoomTimeoutError))
        and not causes.is_bad_certificate(error)
        and not causes.is_closed_locally(error)
    )


def verdict_on(error: BaseException, *, failures: Errors = TRANSIENT_ERRORS) -> Verdict:
    """Return how a circuit breaker counts an attempt that ended with `error`.

    Args:
        error: What the attempt raised.
        failures: The exceptions that count as failures.
    """
    is_ours = (
        isinstance(error, (*_OUR_OWN, *_NO_PLACE_IN_THE_POOL))
        or causes.is_closed_locally(error)
        or causes.is_out_of_resources(error)
        or causes.is_out_of_streams(error)
    )
    return Verdict.FAILURE if _counts_as(error, failures) and not is_ours else Verdict.NONE


def delivery_of(
    error: BaseException, *, began_to_send: bool | None = None, stream_id: int | None = None
) -> Delivery:
    """Return whether the server can have acted on an attempt that ended with `error`.

    Args:
        error: What the attempt raised.
        began_to_send: Whether sending the request began; None if this is unknown. Then the class of
            the exception decides, but only if httpcore raised it: some other transports raise
            ConnectError when a connection breaks after the request was sent.
        stream_id: The HTTP/2 stream of the request, if it is known.
    """
    # 1. Rejected here: not sent, unless the transport was closed while it was in flight.
    # 2. What the server said counts more than what was observed here,
    # 3. and an observation counts more than a conclusion.
    # 4. The classes of httpcore's exceptions are reliable.
    # 5. An exception of any other origin proves nothing.
    if isinstance(error, TransportClosedError) and error.delivery is not Delivery.NOT_SENT:
        return Delivery.NOT_SENT if began_to_send is False else Delivery.UNCERTAIN
    if isinstance(error, RequestRejectedError):
        return Delivery.NOT_SENT
    if isinstance(error, ResponseTooLargeError):
        return Delivery.ANSWERED
    if causes.proves_unprocessed(error, stream_id) or causes.is_out_of_streams(error):
        return Delivery.NOT_SENT
    if began_to_send is not None:
        return Delivery.UNCERTAIN if began_to_send else Delivery.NOT_SENT
    is_proven = isinstance(error, NOT_SENT_ERRORS) and causes.is_by_httpcore(error)
    return Delivery.NOT_SENT if is_proven else Delivery.UNCERTAIN


def may_have_acted(delivery: Delivery, status: int | None) -> bool:
    """Return whether the server may have acted on an attempt: it did not only if this is proven.

    Args:
        delivery: What is known about the delivery of the attempt.
        status: The status of its response; None if there was none.
    """
    return delivery is not Delivery.NOT_SENT and status not in REFUSING_STATUSES


def valid_errors(name: str, errors: Collection[type[Exception]]) -> Errors:
    """Return `errors` as a tuple; reject classes that must not be caught, such as a cancellation.

    Raises:
        TypeError: `errors` is not a collection of subclasses of Exception.
    """
    if not isinstance(errors, Collection):
        raise TypeError(f"{name} must be a collection of exception classes, got {errors!r}")
    for error in errors:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise TypeError(f"{name} must be subclasses of Exception, got {error!r}")
    return tuple(errors)


def _counts_as(error: BaseException, kinds: Errors) -> bool:
    """Return whether `error` is one of `kinds`, by its class or by what really happened.

    httpcore raises LocalProtocolError also when the server violates HTTP/2, and lets an
    `ssl.SSLError` through when a damaged record breaks the connection.
    """
    if isinstance(error, kinds):
        return True
    if isinstance(error, ssl.SSLError):
        return _include(kinds, "ReadError")
    if not isinstance(error, _DISGUISES):
        return False
    if causes.is_out_of_streams(error):
        return _include(kinds, "PoolTimeout")
    return _include(kinds, "RemoteProtocolError") and causes.is_breach_by_server(error)


def _include(kinds: Errors, name: str) -> bool:
    """Return whether `kinds` include the exception of this name, of either family."""
    return any(issubclass(getattr(home, name), kinds) for home in family.FAMILIES)
