"""Hand an event to a listener that cannot break the call it hears of."""

import logging

from walltrack.resilience.events import Event, Listener

# Not structlog: it may be what failed, and the standard library's logging never raises.
_logger = logging.getLogger("walltrack")


def emit(listener: Listener, event: Event) -> None:
    """Tell `listener` of `event`. If it raises, that is logged, and the call goes on."""
    try:
        listener(event)
    except Exception:
        _logger.exception("listener failed on %s", event.name)
