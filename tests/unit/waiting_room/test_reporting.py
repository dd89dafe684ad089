"""What is reported and raised, by the reason for which a wait ends or does not begin."""

import httpx
import pytest

from tests.support import Clock, Events, get
from tests.unit.waiting_room.gates import FakeGate
from walltrack import (
    CircuitBreakerOpenError,
    RejectReason,
    RequestAdmitted,
    RequestRejected,
    RequestWaiting,
)
from walltrack.core.exceptions import WaitingRoomTimeoutError
from walltrack.waiting_room.reporting import Reporter
from walltrack.waiting_room.room import Place, Room

NAMES = ("api.test", "GET", "/things")


def place(clock: Clock, latest: float, until: float, shut_for: float = 5.0) -> Place:
    """A place at a circuit that is open."""
    room = Room(FakeGate(clock, shut_for), clock)
    return Place(room, "key", clock.now + latest, clock.now + until)


def test_waits_and_admissions_are_events(clock: Clock, events: Events) -> None:
    """With the seconds that are to come, and those that have passed."""
    reporter = Reporter(events)
    reporter.waits(get(), FakeGate(clock, 1.5))
    reporter.goes(get(), 2.5)
    assert events == [RequestWaiting(*NAMES, 1.5), RequestAdmitted(*NAMES, 2.5)]


@pytest.mark.parametrize(
    ("until", "passes", "reason", "kind"),
    [
        (10.0, 10.0, RejectReason.WAITING_ROOM_TIMEOUT, CircuitBreakerOpenError),
        (3.0, 3.0, RejectReason.WAITING_ROOM_TIMEOUT, WaitingRoomTimeoutError),
        (3.0, 2.9, RejectReason.CIRCUIT_OPEN_TOO_LONG, CircuitBreakerOpenError),
    ],
)
def test_the_end_of_a_wait_names_its_reason(
    until: float, passes: float, reason: RejectReason, kind: type[CircuitBreakerOpenError]
) -> None:
    """Only a wait for all of httpx's pool timeout is a PoolTimeout."""
    clock, events = Clock(), Events()
    where = place(clock, 10.0, until, shut_for=20.0)
    clock.advance(passes)
    error = Reporter(events).in_vain(get(), where, clock.now, passes)
    assert events == [RequestRejected(*NAMES, reason, error.retry_after)]
    assert type(error) is kind
    assert error.waited == passes
    assert error.retry_after == pytest.approx(20.0 - passes)


@pytest.mark.parametrize("until", [4.0, 10.0])
def test_a_wait_that_would_be_in_vain_names_its_reason(
    clock: Clock, events: Events, until: float
) -> None:
    """It is a PoolTimeout if the call could wait long enough without that."""
    error = Reporter(events).of_no_use(get(), place(clock, 10.0, until))
    assert events == [RequestRejected(*NAMES, RejectReason.CIRCUIT_OPEN_TOO_LONG, 5.0)]
    assert isinstance(error, httpx.PoolTimeout)
    error = Reporter(None).of_no_use(get(), place(clock, 4.0, 4.0))
    assert not isinstance(error, httpx.PoolTimeout)
    assert error.waited == 0.0


def test_a_full_room_is_reported(clock: Clock, events: Events) -> None:
    """With the time at which the circuit opens."""
    error = Reporter(events).no_space(get(), FakeGate(clock, 1.5))
    assert events == [RequestRejected(*NAMES, RejectReason.WAITING_ROOM_FULL, 1.5)]
    assert error.retry_after == 1.5


@pytest.mark.parametrize(("shut_for", "is_open"), [(1.5, False), (0.0, True)])
def test_a_rejection_that_there_is_nothing_to_wait_for_is_reported(
    clock: Clock, events: Events, shut_for: float, *, is_open: bool
) -> None:
    """The breaker left it to the room to report it, and the caller gets the error."""
    assert Reporter(events).is_open_again(get(), FakeGate(clock, shut_for)) is is_open
    assert events == ([RequestRejected(*NAMES, RejectReason.CIRCUIT_OPEN, 0.0)] if is_open else [])
