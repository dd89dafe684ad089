import dataclasses
import pickle
from typing import get_args

import pytest

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

EVENTS: list[tuple[Event, str]] = [
    (RetryScheduled("api.test", "GET", "/a", 1, 3, 1.5, "503"), "retry_scheduled"),
    (
        RetryStopped("api.test", "GET", "/a", 1, 3, "503", StopReason.CIRCUIT_OPEN),
        "retry_stopped",
    ),
    (
        CallSucceededAfterRetries("api.test", "GET", "/a", 2, 1.5),
        "call_succeeded_after_retries",
    ),
    (CircuitOpened("api.test", 5, 30.0), "circuit_opened"),
    (
        CircuitModeChanged("api.test", "forced_open", "open", "closed"),
        "circuit_mode_changed",
    ),
    (CircuitHalfOpened("api.test"), "circuit_half_opened"),
    (CircuitClosed("api.test"), "circuit_closed"),
    (RequestRejected("api.test", "GET", "/a", RejectReason.QUEUE_FULL), "request_rejected"),
    (RequestWaiting("api.test", "GET", "/a", 1.5), "request_waiting"),
    (RequestAdmitted("api.test", "GET", "/a", 1.5), "request_admitted"),
    (RequestHedged("api.test", "GET", "/a", 0.25), "request_hedged"),
    (OriginThrottled("api.test", 30.0, "Retry-After"), "origin_throttled"),
    (SharedStateLost("walltrack", "TimeoutError"), "shared_state_lost"),
    (SharedStateRecovered("walltrack"), "shared_state_recovered"),
]
each_event = pytest.mark.parametrize(
    "event", [event for event, _ in EVENTS], ids=[name for _, name in EVENTS]
)


def test_every_event_stands_in_the_table() -> None:
    """The table above has one event of each class."""
    assert {type(event) for event, _ in EVENTS} == set(get_args(Event))


@pytest.mark.parametrize(("event", "name"), EVENTS)
def test_names(event: Event, name: str) -> None:
    """The name belongs to the class and is not a field, so a log entry does not repeat it."""
    assert type(event).name == name
    assert "name" not in dataclasses.asdict(event)


@each_event
def test_an_event_cannot_be_changed(event: Event) -> None:
    """One listener cannot change what the next one gets."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.service = "other"  # type: ignore[misc]


@each_event
def test_an_event_travels(event: Event) -> None:
    """A pickled event is equal to the original, for listeners that pass it to another process."""
    assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301 - pickled here


def test_a_stop_reason_reads_as_its_name() -> None:
    """A reason is plain lower-case text, in a log entry and in a comparison."""
    assert [str(reason) for reason in StopReason] == [
        "retries_exhausted",
        "method_not_retried",
        "body_cannot_replay",
        "circuit_open",
        "retry_after_too_long",
        "budget_empty",
        "deadline_too_close",
        "transport_closed",
        "status_not_retried",
        "server_declined",
        "classified_as_final",
        "error_not_retried",
        "bad_certificate",
        "closed_locally",
        "response_too_large",
        "request_rejected",
        "retries_off",
        "cancelled",
        "deadline_passed",
        "body_broke_off",
    ]
    assert [str(reason) for reason in RejectReason] == [
        "circuit_open",
        "queue_full",
        "queue_timeout",
        "rate_limit",
        "waiting_room_full",
        "waiting_room_timeout",
        "circuit_open_too_long",
    ]


def test_a_reason_that_a_retry_could_have_helped_against_is_not_ordinary() -> None:
    """Each of these is logged as a warning, like anything that an operator may have to act on."""
    assert (
        not {
            StopReason.RETRIES_EXHAUSTED,
            StopReason.METHOD_NOT_RETRIED,
            StopReason.BODY_CANNOT_REPLAY,
            StopReason.CIRCUIT_OPEN,
            StopReason.RETRY_AFTER_TOO_LONG,
            StopReason.BUDGET_EMPTY,
            StopReason.DEADLINE_TOO_CLOSE,
            StopReason.TRANSPORT_CLOSED,
            StopReason.BAD_CERTIFICATE,
            StopReason.RESPONSE_TOO_LARGE,
            StopReason.DEADLINE_PASSED,
            StopReason.BODY_BROKE_OFF,
        }
        & ORDINARY_STOPS
    )


@each_event
def test_the_server_of_an_event_is_not_compared(event: Event) -> None:
    """It is derived from the service or adds its address, and no repr shows it."""
    placed = dataclasses.replace(event, server=Server("api.test", 443))
    assert placed == event
    assert placed.server == Server("api.test", 443)
    assert repr(placed) == repr(event)
