"""How long a call can wait: the shortest of all its bounds."""

import math

import anyio
import anyio.lowlevel
import pytest

from tests.support import Clock, get
from tests.unit.waiting_room.gates import FakeGate
from walltrack.waiting_room.patience import Patience, patience_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ({}, Patience(10.0, 10.0)),
        ({"timeout": {"pool": None}}, Patience(10.0, 10.0)),
        ({"timeout": {"pool": 5.0}}, Patience(10.0, 5.0)),
        ({"timeout": {"pool": 20.0}}, Patience(10.0, 10.0)),
        ({"walltrack.deadline": 3}, Patience(3.0, 3.0)),
        ({"walltrack.deadline": 3, "timeout": {"pool": 2.0}}, Patience(3.0, 2.0)),
    ],
)
async def test_the_shortest_bound_counts(
    extensions: dict[str, object], expected: Patience, clock: Clock
) -> None:
    """The pool timeout bounds this wait alone, `max_wait` and the deadline the call as well."""
    assert patience_of(get(extensions=extensions), 10.0, clock) == expected


async def test_the_callers_own_cancel_scope_counts(clock: Clock) -> None:
    """A call waits no longer than the cancel scope in which it runs."""
    with anyio.move_on_after(2):
        await anyio.lowlevel.checkpoint()
        total, here = patience_of(get(), 10.0, clock)
    assert 1.0 < total == here <= 2.0


def test_a_probe_in_flight_may_end_the_wait_at_any_moment(clock: Clock) -> None:
    """Otherwise the time until the next probe decides."""
    patience = Patience(5.0, 2.0)
    assert patience.is_enough_for(FakeGate(clock, 1.9))
    assert not patience.is_enough_for(FakeGate(clock, 2.0))
    assert not patience.is_enough_for(FakeGate(clock, math.inf))
    assert patience.is_enough_for(FakeGate(clock, 30.0, is_probing=True))
