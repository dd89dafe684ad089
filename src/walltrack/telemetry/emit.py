"""Call listeners and classifiers, whose exceptions must not break the request."""

import logging
import sys
from collections.abc import Sequence

import httpx

from walltrack.core import validation
from walltrack.core.classification import Classifier, Classify
from walltrack.core.events import Event, Listener, RejectReason, RequestAdmitted, RequestRejected
from walltrack.core.naming import finite, names_of

# Not structlog: it may have caused the failure, and the standard library's logging never raises.
_logger = logging.getLogger("walltrack")


def emit(listener: Listener, event: Event) -> None:
    """Call `listener` with `event`; log an exception that it raises, and continue."""
    handled = sys.exception()
    try:
        listener(event)
    except Exception as error:  # noqa: BLE001 - a listener must not break the call
        log_failure(error, event.name, handled)


def emit_admitted(
    listener: Listener | None, request: httpx.Request, queue: str, waited: float
) -> None:
    """Report to the listener, if any, that `request` is sent after it waited in a queue."""
    if listener is not None:
        emit(listener, RequestAdmitted(**names_of(request), waited=waited, queue=queue))


def emit_rejected(
    listener: Listener | None,
    request: httpx.Request,
    reason: RejectReason,
    retry_after: float | None = None,
) -> None:
    """Report to the listener, if any, that `request` is not sent; an infinite time is unknown."""
    if listener is not None:
        seconds = None if retry_after is None else finite(retry_after)
        emit(listener, RequestRejected(**names_of(request), reason=reason, retry_after=seconds))


def log_failure(error: Exception, name: str, handled: BaseException | None = None) -> None:
    """Log an exception that a listener raised.

    Args:
        error: The exception.
        name: What the listener was called for.
        handled: The exception that was being handled then, which the log must not show.
    """
    _cut_off(error, handled)
    _logger.error("listener failed on %s", name, exc_info=error)


def classifier_of(classify: Classify | Sequence[Classify] | None) -> Classifier | None:
    """Return a classifier that calls the given functions; it logs their first exception.

    Raises:
        TypeError: `classify` is neither a function nor a sequence of functions.
    """
    if classify is None or isinstance(classify, Classifier):
        return classify
    functions = tuple(classify) if isinstance(classify, Sequence) else (classify,)
    for function in functions:
        validation.function("classify", function)
    return Classifier(functions, _report)


def _report(error: Exception) -> None:
    handled = sys.exception()
    _cut_off(error, handled.__context__ if handled is error else handled)
    _logger.error("classify failed; the outcome table decides instead", exc_info=error)


def _cut_off(error: BaseException, handled: BaseException | None) -> None:
    # An event may be emitted while an attempt's exception is being handled. Python makes that one
    # the context of what the listener raises, and the log would show its text with any secrets.
    while error.__context__ is not None and error.__context__ is not handled:
        error = error.__context__
    error.__context__ = None
