import logging
import math

import pytest
import structlog

from tests.support import Events, get
from walltrack.core.events import CircuitClosed, Event, RejectReason, RequestRejected
from walltrack.telemetry.emit import emit, emit_rejected
from walltrack.telemetry.log import log_event

EVENT = CircuitClosed("api.test")


class StoppedError(BaseException):
    """Represents an exception that ends a task or the program."""


def test_a_listener_hears_the_event(events: Events) -> None:
    """The listener is called once, with the event itself."""
    emit(events, EVENT)

    assert events == [EVENT]


@pytest.mark.parametrize(("seconds", "shown"), [(None, None), (1.5, 1.5), (math.inf, None)])
def test_a_rejection_without_an_end_has_no_time(
    events: Events, seconds: float | None, shown: float | None
) -> None:
    """A circuit that was forced open may stay open: JSON has no infinite number."""
    emit_rejected(events, get(), RejectReason.CIRCUIT_OPEN_TOO_LONG, seconds)
    assert events == [
        RequestRejected("api.test", "GET", "/things", RejectReason.CIRCUIT_OPEN_TOO_LONG, shown)
    ]


def test_a_listener_that_raises_is_logged_and_the_call_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The listener's exception ends in the standard library's log, with its traceback."""
    fault = RuntimeError("disk full")

    def raising(_: Event, /) -> None:
        raise fault

    emit(raising, EVENT)

    [record] = caplog.records
    assert (record.name, record.levelno) == ("walltrack", logging.ERROR)
    assert record.getMessage() == "listener failed on circuit_closed"
    assert record.exc_info is not None
    assert record.exc_info[1] is fault


def test_a_broken_structlog_is_logged_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """A structlog processor that raises does not break the call, and its error is logged."""

    def broken(*_: object) -> str:
        raise ValueError("no renderer")

    structlog.configure(processors=[broken])
    try:
        emit(log_event, EVENT)
    finally:
        structlog.reset_defaults()

    assert [record.name for record in caplog.records] == ["walltrack"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, StoppedError])
def test_what_ends_a_task_passes_through(kind: type[BaseException]) -> None:
    """A cancellation or an interrupt in a listener is not swallowed."""

    def stopping(_: Event, /) -> None:
        raise kind

    with pytest.raises(kind):
        emit(stopping, EVENT)


def test_what_led_to_a_listeners_failure_is_logged_and_what_was_being_handled_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The listener's own exceptions are shown; the attempt's, which may tell secrets, is not."""

    def clumsy(_: Event) -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("then")  # noqa: B904 - an implicit context is what this is about

    try:
        raise RuntimeError("hunter2")
    except RuntimeError:
        emit(clumsy, EVENT)

    assert "first" in caplog.text
    assert "then" in caplog.text
    assert "hunter2" not in caplog.text
