import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import structlog
from structlog.testing import capture_logs

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
    StopReason,
)
from walltrack.core.naming import Server
from walltrack.telemetry import log
from walltrack.telemetry.log import LEVELS, level_of, log_event

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
            "failure": "ReadTimeout",
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
            "failure": "503",
            "stop_reason": "retries_exhausted",
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
            "reason": "queue_full",
        },
    ),
    (
        RequestWaiting("api.test", "GET", "/a", 1.5),
        {
            "event": "request_waiting",
            "log_level": "info",
            "service": "api.test",
            "method": "GET",
            "path": "/a",
            "shut_for": 1.5,
        },
    ),
    (
        RequestAdmitted("api.test", "GET", "/a", 2.5),
        {
            "event": "request_admitted",
            "log_level": "info",
            "service": "api.test",
            "method": "GET",
            "path": "/a",
            "waited": 2.5,
            "queue": "waiting_room",
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
        OriginThrottled("api.test", 30.0, "Retry-After"),
        {
            "event": "origin_throttled",
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
            "mode": "automatic",
            "previous": "closed",
        },
    ),
    (
        CircuitHalfOpened("api.test", key="acme"),
        {
            "event": "circuit_half_opened",
            "log_level": "info",
            "service": "api.test",
            "mode": "automatic",
            "key": "acme",
        },
    ),
    (
        CircuitClosed("api.test"),
        {
            "event": "circuit_closed",
            "log_level": "info",
            "service": "api.test",
            "mode": "automatic",
            "previous": "half_open",
        },
    ),
    (
        CircuitModeChanged("api.test", "forced_open", "open", "closed"),
        {
            "event": "circuit_mode_changed",
            "log_level": "warning",
            "service": "api.test",
            "mode": "forced_open",
            "state": "open",
            "previous": "closed",
        },
    ),
    (
        CallSucceededAfterRetries("api.test", "GET", "/a", 3, 1.5),
        {
            "event": "call_succeeded_after_retries",
            "log_level": "info",
            "service": "api.test",
            "method": "GET",
            "path": "/a",
            "attempts": 3,
            "seconds": 1.5,
        },
    ),
    (
        SharedStateLost("walltrack", "TimeoutError"),
        {
            "event": "shared_state_lost",
            "log_level": "warning",
            "service": "walltrack",
            "failure": "TimeoutError",
        },
    ),
    (
        SharedStateRecovered("walltrack"),
        {"event": "shared_state_recovered", "log_level": "info", "service": "walltrack"},
    ),
]


OPENED = CircuitOpened("api.test", 5, 30.0)
PROGRAM = """
import asyncio, json, logging, sys
import httpx
from walltrack import Backoff, RetryPolicy, RetryTransport

{set_up}
async def main():
    answers = [503, 200]
    service = httpx.MockTransport(lambda request: httpx.Response(answers.pop(0)))
    policy = RetryPolicy(backoff=Backoff(base=0, cap=0))
    async with httpx.AsyncClient(transport=RetryTransport(service, policy=policy)) as client:
        response = await client.get("https://api.test/v1?key=hunter2")
    print(json.dumps({{"result": response.status_code}}))

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _structlog_as_delivered() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def output_of(set_up: str) -> tuple[str, str]:
    """What a program writes to stdout and to stderr when it configures its logs by `set_up`."""
    child = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", PROGRAM.format(set_up=set_up)],
        capture_output=True,
        text=True,
        check=True,
    )
    return child.stdout, child.stderr


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

    line = "event='circuit_closed' service='api.test' mode='automatic' previous='half_open'"
    assert caplog.record_tuples == [("walltrack", logging.INFO, line)]


# What depends on more than the kind of the event


@pytest.mark.parametrize("reason", StopReason)
def test_an_ordinary_reason_is_logged_for_debugging_only(reason: StopReason) -> None:
    """A program that meets a 404 a second does not warn once a second."""
    event = RetryStopped("api.test", "GET", "/a", 1, 3, "404", reason)
    assert level_of(event) == (logging.DEBUG if reason in ORDINARY_STOPS else logging.WARNING)


@pytest.mark.parametrize("reason", RejectReason)
def test_rejections_by_a_circuit_do_not_flood_the_log(reason: RejectReason) -> None:
    """The opening is logged as an error; each request that it rejects only for debugging."""
    event = RequestRejected("api.test", "GET", "/a", reason)
    is_by_circuit = reason is RejectReason.CIRCUIT_OPEN
    assert level_of(event) == (logging.DEBUG if is_by_circuit else logging.WARNING)


@pytest.mark.parametrize("queue", ["waiting_room", "rate_limit", "concurrency_limit"])
def test_waits_for_a_limit_do_not_flood_the_log(queue: str) -> None:
    """A limit is there to make requests wait; only those for an open circuit are news."""
    event = RequestAdmitted("api.test", "GET", "/a", 2.5, queue)
    assert level_of(event) == (logging.INFO if queue == "waiting_room" else logging.DEBUG)


def test_an_opening_that_is_only_observed_is_no_error() -> None:
    """No request is rejected by it, and its entry says so."""
    event = CircuitOpened("api.test", 5, 30.0, "observe_only")
    assert level_of(event) == logging.WARNING
    assert level_of(OPENED) == logging.ERROR


def test_an_entry_has_no_field_without_a_value(caplog: pytest.LogCaptureFixture) -> None:
    """The server is named by the service already; a key that is not there is left out."""
    caplog.set_level(logging.INFO, "walltrack")
    log_event(CircuitClosed("api.test", server=Server("api.test", 443)))
    log_event(RequestRejected("api.test", "GET", "/a", RejectReason.RATE_LIMIT, 1.5))

    assert caplog.messages == [
        "circuit_closed service=api.test mode=automatic previous=half_open",
        "request_rejected service=api.test method=GET path=/a reason=rate_limit retry_after=1.5",
    ]


# If structlog is not configured


@pytest.mark.parametrize(("event", "entry"), ENTRIES, ids=lambda row: getattr(row, "name", ""))
def test_without_a_configuration_an_event_is_a_record_of_the_standard_library(
    event: Event, entry: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Its logger is `walltrack`, its level the event's, and its attributes are the fields."""
    with caplog.at_level(logging.INFO, "walltrack"):
        log_event(event)

    [record] = caplog.records
    assert record.name == "walltrack"
    assert record.levelname.lower() == entry["log_level"]
    fields = {key: value for key, value in entry.items() if key != "log_level"}
    assert {key: getattr(record, key) for key in fields} == fields


def test_the_line_is_the_name_and_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    """It can be read by people and by logfmt parsers."""
    log_event(OriginThrottled("api.test", 30.0, "Retry-After"))
    log_event(RequestRejected("api.test", "GET", "/a b", RejectReason.QUEUE_FULL))

    assert caplog.messages == [
        "origin_throttled service=api.test seconds=30.0 reason=Retry-After",
        'request_rejected service=api.test method=GET path="/a b" reason=queue_full',
    ]


def test_records_of_one_kind_have_one_template(caplog: pytest.LogCaptureFixture) -> None:
    """Error trackers group records by the message without its arguments."""
    log_event(OPENED)
    log_event(CircuitOpened("other.test", 6, 60.0))
    log_event(SCHEDULED)

    first, second, other = (record.msg for record in caplog.records)
    assert first == second != other


def test_a_level_of_the_standard_library_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """What is below the level of the logger is not even rendered."""
    with caplog.at_level(logging.ERROR, "walltrack"):
        log_event(SCHEDULED)
        log_event(OPENED)

    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_disabled_level_renders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The level is looked at before the fields are."""

    def rendered(*_: object) -> dict[str, object]:
        raise AssertionError("rendered")

    monkeypatch.setattr(log, "asdict", rendered)
    monkeypatch.setattr(logging.getLogger("walltrack"), "disabled", True)
    log_event(OPENED)
    monkeypatch.setattr(logging.getLogger("walltrack"), "disabled", False)
    with pytest.raises(AssertionError, match="rendered"):
        log_event(OPENED)


def test_the_logger_has_no_handler_of_ours() -> None:
    """Handlers, propagation and level are the application's to decide."""
    logger = logging.getLogger("walltrack")
    assert (logger.handlers, logger.propagate, logger.level) == ([], True, logging.NOTSET)


# From one state to the other


@pytest.mark.parametrize("cached", [False, True])
def test_a_configuration_after_the_first_event_is_used(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], *, cached: bool
) -> None:
    """Events follow the configuration of their moment, whether structlog caches loggers or not."""
    log_event(OPENED)
    assert len(caplog.records) == 1
    for number in (1, 2):
        structlog.configure(
            processors=[structlog.processors.EventRenamer(f"m{number}"), json_line],
            cache_logger_on_first_use=cached,
        )
        log_event(OPENED)
        assert json.loads(capsys.readouterr().out)[f"m{number}"] == "circuit_opened"
    structlog.reset_defaults()
    log_event(OPENED)
    assert len(caplog.records) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("configured", [False, True])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_capture_logs_works_in_both_states(
    caplog: pytest.LogCaptureFixture, *, configured: bool, cached: bool, used: bool
) -> None:
    """Also when structlog caches loggers, and when events came before."""
    if configured:
        structlog.configure(
            processors=[structlog.stdlib.render_to_log_kwargs],
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=cached,
        )
    if used:
        log_event(OPENED)
    for _ in range(2):
        before = len(caplog.records)
        with capture_logs() as entries:
            log_event(OPENED)
        assert [entry["event"] for entry in entries] == ["circuit_opened"]
        assert len(caplog.records) == before


def test_after_capture_logs_an_unconfigured_structlog_is_unconfigured(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """`capture_logs` puts back structlog's defaults, which would print to stdout."""
    with capture_logs():
        pass
    assert structlog.is_configured()

    log_event(OPENED)

    assert len(caplog.records) == 1
    assert capsys.readouterr().out == ""


def test_a_part_of_a_configuration_is_a_configuration(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """An application that sets a level alone has its events where structlog writes: on stdout."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    log_event(SCHEDULED)
    log_event(OPENED)
    assert caplog.records == []
    assert capsys.readouterr().out.count("\n") == 1


# Whole programs


def test_a_program_that_configures_nothing_keeps_its_stdout() -> None:
    """The warning goes to stderr, as any of `logging`, and shows no query."""
    out, err = output_of("")
    assert json.loads(out) == {"result": 200}
    assert err.startswith("retry_scheduled service=api.test method=GET path=/v1 ")
    assert err.count("\n") == 1
    assert "hunter2" not in err


@pytest.mark.parametrize(
    "set_up",
    [
        "logging.disable(logging.CRITICAL)",
        "logging.getLogger('walltrack').setLevel(logging.CRITICAL)",
        "logging.getLogger('walltrack').addHandler(logging.NullHandler())",
    ],
)
def test_a_program_silences_the_events_by_the_standard_library(set_up: str) -> None:
    """Each of the usual ways works."""
    assert output_of(set_up) == ('{"result": 200}\n', "")


def test_a_program_has_the_events_in_its_own_logs() -> None:
    """In the format, and at the place, that it gave to `logging`."""
    out, err = output_of("logging.basicConfig(format='%(levelname)s|%(name)s|%(path)s', level=30)")
    assert json.loads(out) == {"result": 200}
    assert err == "WARNING|walltrack|/v1\n"


def test_a_program_may_configure_structlog_before_it_imports_this_library() -> None:
    """That is a configuration like a later one."""
    code = (
        "import structlog; structlog.configure(processors=[structlog.processors.JSONRenderer()]); "
        "from walltrack import CircuitClosed, log_event; log_event(CircuitClosed('api.test'))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)  # noqa: S603 - our own
    assert json.loads(out) == {
        "event": "circuit_closed",
        "service": "api.test",
        "mode": "automatic",
        "previous": "half_open",
    }


def json_line(_: object, __: str, entry: structlog.typing.EventDict) -> str:
    """Render as JSON."""
    return json.dumps(entry)


def test_a_number_is_shown_as_precisely_as_one_reads_it() -> None:
    """A jittered delay has sixteen digits otherwise."""
    event = RetryScheduled("api.test", "GET", "/", 1, 3, 0.28774992528029986, "503")
    with capture_logs() as logs:
        log_event(event)
    assert logs[0]["delay"] == 0.2877
