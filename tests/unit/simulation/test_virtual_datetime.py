import copy
import pickle
import time
from datetime import UTC, datetime, timedelta

import pytest

from walltrack.simulation.virtual_datetime import VirtualDatetime

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", NOON.timestamp)


def test_it_is_what_time_says() -> None:
    """The date agrees with `time.time()` in a time zone, in UTC and in local time."""
    assert VirtualDatetime.now(UTC) == NOON
    assert VirtualDatetime.utcnow() == NOON.replace(tzinfo=None)
    assert VirtualDatetime.now() == datetime.fromtimestamp(NOON.timestamp())  # noqa: DTZ006 - local time is meant
    assert VirtualDatetime.today() == VirtualDatetime.now()


def test_it_is_taken_for_a_datetime_and_a_datetime_for_it() -> None:
    """Code whose `datetime` it replaced asks `isinstance` about dates that came from elsewhere."""
    assert isinstance(NOON, VirtualDatetime)
    assert isinstance(VirtualDatetime.now(), datetime)
    assert not isinstance("noon", VirtualDatetime)
    assert issubclass(datetime, VirtualDatetime)
    assert not issubclass(str, VirtualDatetime)


def test_it_computes_like_a_datetime() -> None:
    """Sums and differences are what they should be."""
    assert VirtualDatetime.now(UTC) + timedelta(hours=1) == NOON + timedelta(hours=1)
    assert NOON - VirtualDatetime.now(UTC) == timedelta()


def test_copies_are_plain() -> None:
    """A pickled or copied virtual datetime is a plain `datetime`."""
    now = VirtualDatetime.now(UTC)
    assert type(pickle.loads(pickle.dumps(now))) is datetime  # noqa: S301 - our own
    assert type(copy.copy(now)) is datetime
    assert copy.copy(now) == now
