"""Events as log entries: through structlog if the application configured it, else `logging`."""

import logging
from dataclasses import asdict
from typing import Final

import structlog

from walltrack.core.events import (
    ORDINARY_STOPS,
    CallSucceededAfterRetries,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitModeChanged,
    CircuitOpened,
    Event,
    OriginThrottled,
    RejectReason,
    RequestAdmitted,
    RequestHedged,
    RequestRejected,
    RequestWaiting,
    RetryScheduled,
    RetryStopped,
    SharedStateLost,
    SharedStateRecovered,
)

LEVELS: Final[dict[type[Event], int]] = {  # see also `level_of`
    RetryScheduled: logging.WARNING,
    RetryStopped: logging.WARNING,
    CallSucceededAfterRetries: logging.INFO,
    CircuitOpened: logging.ERROR,
    CircuitHalfOpened: logging.INFO,
    CircuitClosed: logging.INFO,
    CircuitModeChanged: logging.WARNING,
    RequestRejected: logging.WARNING,
    RequestWaiting: logging.INFO,
    RequestAdmitted: logging.INFO,
    RequestHedged: logging.INFO,
    OriginThrottled: logging.WARNING,
    SharedStateLost: logging.WARNING,
    SharedStateRecovered: logging.INFO,
}

_NAME: Final = "walltrack"
# Without a cache, every event uses the configuration at its time, even if that changed later.
_structured: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
    None, logger_factory_args=(_NAME,), cache_logger_on_first_use=False
)
# No NullHandler: without any handler, `logging` writes warnings and errors to stderr, so that a
# program without a logging configuration still reports an open circuit.
_standard = logging.getLogger(_NAME)
_render = structlog.processors.LogfmtRenderer()


def level_of(event: Event) -> int:
    """Return the level at which `event` is logged."""
    match event:
        case RetryStopped(stop_reason=reason) if reason in ORDINARY_STOPS:
            return logging.DEBUG
        case RequestRejected(reason=RejectReason.CIRCUIT_OPEN):
            return logging.DEBUG  # it opens at ERROR; the rejections may be thousands a second
        case RequestAdmitted(queue="rate_limit" | "concurrency_limit"):
            return logging.DEBUG
        case CircuitOpened(mode="observe_only"):
            return logging.WARNING
    return LEVELS[type(event)]


def log_event(event: "Event", /) -> None:
    """Log `event`; this is the default `Listener` of every transport.

    If the application has configured structlog, the entry goes through structlog as configured: the
    event's name, and its fields as keys. Otherwise it goes to the logger `walltrack` of the
    standard library. The message is the name and the fields as `key=value`. Each record also has
    the fields as attributes, and the name as its attribute `event`. Fields that are None are left
    out.
    """
    level = level_of(event)
    if _is_configured():
        _structured.log(level, event.name, **_shown(event))
    elif _standard.isEnabledFor(level):
        fields = _shown(event)
        # One template per kind of event, since error trackers group records by it.
        template = f"{event.name} %s"
        line = _render(_standard, "log", fields)
        _standard.log(level, template, line, extra={"event": event.name, **fields})


def _shown(event: Event) -> dict[str, object]:
    fields = asdict(event)
    del fields["server"]
    return {name: _short(value) for name, value in fields.items() if value is not None}


def _short(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _configuration() -> dict[str, object]:
    configuration = structlog.get_config()
    return {**configuration, "processors": list(configuration["processors"])}


# `capture_logs` restores structlog's defaults by configuring them. After that, structlog counts as
# configured, and would print to stdout.
_DEFAULTS: Final = None if structlog.is_configured() else _configuration()


def _is_configured() -> bool:
    return structlog.is_configured() and _configuration() != _DEFAULTS
