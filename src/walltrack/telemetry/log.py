"""Events as structlog entries: the event's name, and its fields as keys."""

import logging
from dataclasses import asdict
from typing import Final

import structlog

from walltrack.core.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    OriginHeldBack,
    RequestHedged,
    RequestRejected,
    RetryScheduled,
    RetryStopped,
)

LEVELS: Final[dict[type[Event], int]] = {
    RetryScheduled: logging.WARNING,
    RetryStopped: logging.WARNING,
    CircuitOpened: logging.ERROR,
    CircuitHalfOpened: logging.INFO,
    CircuitClosed: logging.INFO,
    RequestRejected: logging.WARNING,
    RequestHedged: logging.INFO,
    OriginHeldBack: logging.WARNING,
}

_logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("walltrack")


def log_event(event: Event, /) -> None:
    """Log `event` through structlog, as the application has configured it.

    The `Listener` of every transport unless another one is given.
    """
    _logger.log(LEVELS[type(event)], event.name, **asdict(event))
