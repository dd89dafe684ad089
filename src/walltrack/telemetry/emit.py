"""Hand an event to a listener that cannot break the call it hears of."""

import logging
import sys

from walltrack.core.events import Event, Listener

# Not structlog: it may be what failed, and the standard library's logging never raises.
_logger = logging.getLogger("walltrack")


def emit(listener: Listener, event: Event) -> None:
    """Tell `listener` of `event`. If it raises, that is logged, and the call goes on."""
    handled = sys.exception()
    try:
        listener(event)
    except Exception as error:
        _cut_off(error, handled)
        _logger.exception("listener failed on %s", event.name)


def _cut_off(error: BaseException, handled: BaseException | None) -> None:
    # An event may be told while an attempt's exception is being handled. Python takes that for the
    # context of whatever the listener raises, and the log would show its text, secrets and all.
    while error.__context__ is not None and error.__context__ is not handled:
        error = error.__context__
    error.__context__ = None
