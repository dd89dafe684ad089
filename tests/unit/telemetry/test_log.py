import json
import logging
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import structlog
from structlog.testing import capture_logs

from walltrack.core.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    OriginHeldBack,
    RejectReason,
    RequestHedged,
    RequestRejected,
    RetryScheduled,
    RetryStopped,
    StopReason,
)
from walltrack.telemetry.log import LEVELS, log_event

SCHEDULED = RetryScheduled("api.test", "GET", "/a%20b", 1, 3, 1.5, "ReadTimeout")
ENTRIES: list[tuple[Event, dict[str, Any]]] = [
    (
        SCHEDULED,
        {
            "event": "retry_scheduled",
            "log_level": "warning",
            "service": "api.test",
            "method": "GET",
            "path": "/a%20b",
            "attempt": 1,
            "max_retries": 3,
            "delay": 1.5,
            "reason": "ReadTimeout",
        },
    ),
    (
        RetryStopped("api.test", "POST", "/a", 4, 3, "503", StopReason.RETRIES_EXHAUSTED),
        {
            "event": "retry_stopped",
            "log_level": "warning",
            "service": "api.test",
            "method": "POST",
            "path": "/a",
            "attempt": 4,
            "max_retries": 3,
            "reason": "503",
            "because": "retries_exhausted",
        },
    ),
    (
        RequestRejected("api.test", "GET", "/a", RejectReason.QUEUE_FULL),
        {
            "event": "request_rejected",
            "log_level": "warning",
            "service": "api.test",
            "method": "GET",
            "path": "/a",
            "because": "queue_full",
        },
    ),
    (
        RequestHedged("api.test", "GET", "/a", 0.25),
        {
            "event": "request_hedged",
            "log_level": "info",
            "service": "api.test",
            "method": "GET",
            "path": "/a",
            "after": 0.25,
        },
    ),
    (
        OriginHeldBack("api.test", 30.0, "Retry-After"),
        {
            "event": "origin_held_back",
            "log_level": "warning",
            "service": "api.test",
            "seconds": 30.0,
            "reason": "Retry-After",
        },
    ),
    (
        CircuitOpened("api.test", 5, 30.0),
        {
            "event": "circuit_opened",
            "log_level": "error",
            "service": "api.test",
            "failures": 5,
            "cooldown": 30.0,
        },
    ),
    (
        CircuitHalfOpened("api.test"),
        {"event": "circuit_half_opened", "log_level": "info", "service": "api.test"},
    ),
    (
        CircuitClosed("api.test"),
        {"event": "circuit_closed", "log_level": "info", "service": "api.test"},
    ),
]


@pytest.fixture(autouse=True)
def _structlog_as_delivered() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(("event", "entry"), ENTRIES, ids=lambda row: getattr(row, "name", ""))
def test_an_event_becomes_one_entry(event: Event, entry: dict[str, Any]) -> None:
    """The entry has the event's name, its level, and each of its fields as a key."""
    with capture_logs() as entries:
        log_event(event)

    assert entries == [entry]


def test_every_event_has_a_level() -> None:
    """No event is without a level, and the table above shows each of them."""
    assert set(LEVELS) == set(get_args(Event)) == {type(event) for event, _ in ENTRIES}


@pytest.mark.parametrize(("event", "entry"), ENTRIES, ids=lambda row: getattr(row, "name", ""))
def test_an_entry_can_be_written_as_json(event: Event, entry: dict[str, Any]) -> None:
    """Every value is one that a log collector reads back as it was."""
    with capture_logs() as entries:
        log_event(event)

    assert json.loads(json.dumps(entries)) == [entry]


def test_the_level_that_the_application_set_is_kept() -> None:
    """Configuring structlog after the import takes effect: what is below the level is dropped."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

    with capture_logs() as entries:
        log_event(SCHEDULED)
        log_event(CircuitOpened("api.test", 5, 30.0))

    assert [entry["event"] for entry in entries] == ["circuit_opened"]


def test_an_application_may_lead_structlog_into_the_standard_library(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Over the standard library's loggers an event keeps its logger's name, level and keys."""
    structlog.configure(
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        processors=[structlog.processors.KeyValueRenderer(key_order=["event", "service"])],
    )
    with caplog.at_level(logging.INFO):
        log_event(CircuitClosed("api.test"))

    assert caplog.record_tuples == [
        ("walltrack", logging.INFO, "event='circuit_closed' service='api.test'")
    ]
