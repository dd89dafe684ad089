import math

import httpx
import pytest

from walltrack.core import extensions
from walltrack.core.extensions import DEADLINE, CallReport, pool_timeout, time_left


def test_every_key_begins_with_the_name_of_the_library() -> None:
    """None of our keys collides with one of httpx, httpcore or another library."""
    keys = [value for name, value in vars(extensions).items() if name.isupper()]
    keys.remove(extensions.TRACE)  # httpcore's own
    keys.remove(extensions.TIMEOUT)  # httpx's own

    assert len(set(keys)) == len(keys) > 0
    assert all(key.startswith("walltrack.") for key in keys)


def test_a_call_report_starts_at_the_first_attempt() -> None:
    """A call that ends before any retry took one attempt."""
    assert CallReport().attempts == 1


class InTwoSeconds:
    """A deadline."""

    def remaining(self) -> float:
        return 2.0


def test_a_deadline_tells_how_much_time_is_left() -> None:
    """Any object with `remaining` works, and it is called each time."""
    assert time_left({DEADLINE: InTwoSeconds()}) == 2.0


def test_without_a_deadline_there_is_all_the_time_in_the_world() -> None:
    """No layer needs a special case for it."""
    assert time_left({}) == math.inf


@pytest.mark.parametrize(
    ("extensions", "seconds"),
    [
        ({}, math.inf),
        ({"timeout": None}, math.inf),
        ({"timeout": {}}, math.inf),
        ({"timeout": httpx.Timeout(None).as_dict()}, math.inf),
        ({"timeout": httpx.Timeout(None, pool=2).as_dict()}, 2.0),
        ({"timeout": httpx.Timeout(7.5).as_dict()}, 7.5),
        ({"timeout": httpx.Timeout(7.5, pool=0.0).as_dict()}, 0.0),
    ],
)
def test_the_pool_timeout_is_read_as_httpx_writes_it(
    extensions: dict[str, object], seconds: float
) -> None:
    """Without a pool timeout, from a client or set manually, the wait is not limited."""
    assert pool_timeout(extensions) == seconds
