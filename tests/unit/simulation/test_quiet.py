import logging
from collections.abc import Iterator

import pytest
import structlog

from walltrack import RetryStopped, StopReason, log_event
from walltrack.simulation.quiet import silence


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logging.disable(logging.NOTSET)


def test_nothing_is_logged_any_more(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither structlog, which this library uses, nor the standard library logs anything."""
    event = RetryStopped(
        service="s",
        method="GET",
        path="/",
        attempt=1,
        max_retries=3,
        failure="503",
        stop_reason=StopReason.BUDGET_EMPTY,
    )
    log_event(event)
    assert [record.name for record in caplog.records] == ["walltrack"]
    structlog.get_logger().warning("seen")
    assert "seen" in capsys.readouterr().out
    caplog.clear()
    silence()
    structlog.get_logger().warning("not seen")
    log_event(event)
    logging.getLogger("some.client").critical("it is down")
    assert capsys.readouterr().out == ""
    assert caplog.records == []
