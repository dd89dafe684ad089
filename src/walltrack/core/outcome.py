"""What the end of one attempt means. The one place that knows.

what came back                                     retried  breaker counts        delivery
─────────────────────────────────────────────────  ───────  ────────────────────  ─────────
2xx, 3xx, 4xx other than 429                       no       success               answered
429, 5xx                                           yes      failure               answered
ConnectError, ConnectTimeout, ProxyError           yes      failure               not sent
  ... a certificate that fails verification        no       failure               not sent
PoolTimeout                                        yes      failure; as a probe:  not sent
                                                            no verdict
ReadTimeout, WriteTimeout, ReadError, WriteError,  yes      failure               uncertain
CloseError, RemoteProtocolError
UnsupportedProtocol                                no       no verdict            not sent
LocalProtocolError                                 no       no verdict            uncertain
RequestRejectedError (an open circuit and such)    no       no verdict            not sent
cancelled by the caller                            no       no verdict            uncertain
any other exception                                no       no verdict            uncertain
"""

import enum
import ssl
from collections.abc import Collection, Iterator
from typing import Final

from walltrack.core import family
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import (
    RequestRejectedError,
    ResponseTooLargeError,
)

__all__ = [
    "FAILURE_STATUSES",
    "NOT_SENT_ERRORS",
    "TRANSIENT_ERRORS",
    "Delivery",
    "Verdict",
    "chain_of",
    "delivery_of",
    "is_retryable",
    "valid_errors",
    "valid_statuses",
    "verdict_on",
]

Errors = tuple[type[Exception], ...]

FAILURE_STATUSES: Final = frozenset({429, *range(500, 600)})
"""Statuses that say "not now" rather than "not so"."""

TRANSIENT_ERRORS: Final[Errors] = family.each(
    "TimeoutException",  # Connect-, Read-, Write- and PoolTimeout
    "NetworkError",  # Connect-, Read-, Write- and CloseError
    "ProxyError",
    "RemoteProtocolError",
)
"""Exceptions that may not come again when the same request is sent again."""

_STATUSES = frozenset(range(100, 600))

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

_OUR_OWN = (RequestRejectedError, ResponseTooLargeError)
"""Raised here, and not because of the service; a time limit of ours is a timeout like any other."""


class Verdict(enum.Enum):
    """What one attempt says about the health of the service."""

    SUCCESS = "success"
    FAILURE = "failure"
    NONE = "no verdict"


def is_retryable(error: BaseException, transient: Errors = TRANSIENT_ERRORS) -> bool:
    """Whether an attempt that ended with `error` may be made again.

    Args:
        error: What the attempt raised.
        transient: The exceptions that are worth another attempt.
    """
    return (
        isinstance(error, transient)
        and not isinstance(error, _OUR_OWN)
        and not _is_certificate_failure(error)
    )


def verdict_on(
    error: BaseException, *, probe: bool = False, failures: Errors = TRANSIENT_ERRORS
) -> Verdict:
    """What an attempt that ended with `error` tells a circuit breaker.

    Args:
        error: What the attempt raised.
        probe: Whether the attempt was a half-open breaker's probe. One that found no free
            connection in the pool never met the server.
        failures: The exceptions that count as failures.
    """
    if isinstance(error, _OUR_OWN) or not isinstance(error, failures):
        return Verdict.NONE
    if probe and isinstance(error, _NO_PLACE_IN_THE_POOL):
        return Verdict.NONE
    return Verdict.FAILURE


def delivery_of(error: BaseException, *, began_to_send: bool | None = None) -> Delivery:
    """Whether the server can have acted on an attempt that ended with `error`.

    Args:
        error: What the attempt raised.
        began_to_send: Whether the request is known to have begun to be sent; None when that is not
            known. Then the exception's class counts, if httpcore raised it: other transports are
            known to report a connection that broke after the request was sent as ConnectError.
    """
    # 1. Rejected here: it went nowhere.
    # 2. What was seen goes before what can be concluded.
    # 3. httpcore tells by the class.
    # 4. Anybody else's exception proves nothing.
    if isinstance(error, RequestRejectedError):
        return Delivery.NOT_SENT
    if isinstance(error, ResponseTooLargeError):
        return Delivery.ANSWERED
    if began_to_send is not None:
        return Delivery.UNCERTAIN if began_to_send else Delivery.NOT_SENT
    told = isinstance(error, NOT_SENT_ERRORS) and _is_by_httpcore(error)
    return Delivery.NOT_SENT if told else Delivery.UNCERTAIN


def valid_statuses(name: str, statuses: Collection[int]) -> frozenset[int]:
    """Refuse a set of statuses that cannot be what its author meant.

    Raises:
        TypeError: It is not a collection of whole numbers.
        ValueError: One of them is no HTTP status (RFC 9110, section 15: 100 to 599).
    """
    plausible = isinstance(statuses, Collection) and not isinstance(statuses, str | bytes)
    if not plausible or not all(isinstance(status, int) for status in statuses):
        raise TypeError(f"{name} must be a collection of whole numbers, got {statuses!r}")
    if strange := sorted(set(statuses) - _STATUSES):
        raise ValueError(f"{name} must be HTTP statuses from 100 to 599, got {strange}")
    return frozenset(statuses)


def valid_errors(name: str, errors: Collection[type[Exception]]) -> Errors:
    """Refuse a set of exceptions that must not be caught here, such as a cancellation.

    Raises:
        TypeError: It is no collection, or one of them is not a subclass of Exception.
    """
    if not isinstance(errors, Collection):
        raise TypeError(f"{name} must be a collection of exception classes, got {errors!r}")
    for error in errors:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise TypeError(f"{name} must be subclasses of Exception, got {error!r}")
    return tuple(errors)


def _is_by_httpcore(error: BaseException) -> bool:
    return type(error.__cause__).__module__.partition(".")[0] in family.CORES


def _is_certificate_failure(error: BaseException) -> bool:
    return any(isinstance(e, ssl.SSLCertVerificationError) for e in chain_of(error))


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what it was raised from, and so on."""
    # httpcore raises with `from None`, which hides the cause but leaves the context in place.
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__context__ if error.__cause__ is None else error.__cause__
