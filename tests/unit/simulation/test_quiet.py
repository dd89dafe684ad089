import logging

import pytest
import structlog

from walltrack import CircuitClosed, log_event
from walltrack.simulation.quiet import silence

EVENT = CircuitClosed(service="s")

pytestmark = pytest.mark.usefixtures("_logging_as_before")


def test_nothing_is_logged_any_more_by_the_standard_library(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither by this library nor by others."""
    caplog.set_level(logging.DEBUG)
    log_event(EVENT)
    assert len(caplog.records) == 1
    silence()
    log_event(EVENT)
    logging.getLogger("some.client").critical("it is down")
    assert len(caplog.records) == 1


def test_nothing_is_logged_any_more_by_structlog(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where an application had configured it."""
    structlog.configure(processors=[structlog.dev.ConsoleRenderer()])
    log_event(EVENT)
    assert "circuit_closed" in capsys.readouterr().out
    silence()
    log_event(EVENT)
    assert capsys.readouterr().out == ""
