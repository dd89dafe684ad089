import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import Clock
from walltrack.core.extensions import DEADLINE, time_left
from walltrack.timeout.deadline import TimeLimit

PROFILE = settings(max_examples=200)


class Foreign:
    """A deadline of a foreign class, which may have passed long ago."""

    def __init__(self, left: float) -> None:
        self._left = left

    def remaining(self) -> float:
        return self._left


def test_what_is_left_goes_down_to_nothing(clock: Clock) -> None:
    """It is measured by the given clock, and never below zero."""
    limit = TimeLimit(5, "deadline", clock)
    assert limit.remaining() == limit.own_remaining() == 5

    clock.advance(2)
    assert limit.remaining() == limit.own_remaining() == 3

    clock.advance(4)
    assert limit.remaining() == limit.own_remaining() == 0


@pytest.mark.parametrize(("outer", "inner", "left"), [(5, 2, 2), (2, 5, 2)])
def test_what_is_left_is_what_the_shorter_of_two_leaves(
    clock: Clock, outer: float, inner: float, left: float
) -> None:
    """The shorter one counts, whichever it is; `own_remaining` does not include the other."""
    around = TimeLimit(outer, "deadline", clock)
    limit = TimeLimit(inner, "attempt timeout", clock, around)

    assert limit.remaining() == left
    assert (limit.own_remaining(), limit.seconds) == (inner, inner)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    waits=st.lists(st.integers(0, 4), min_size=4, max_size=5),
)
@PROFILE
def test_any_nesting_leaves_what_the_naive_sum_leaves(lengths: list[int], waits: list[int]) -> None:
    """Limits begun one in another, at different times: the one that ends first counts."""
    clock = Clock(0)
    limit = None
    ends = []
    for seconds, wait in zip(lengths, waits, strict=False):
        limit = TimeLimit(seconds, "timeout", clock, limit)
        ends.append(clock.now + seconds)
        clock.advance(wait)
    assert limit is not None
    assert limit.remaining() == max(0, min(ends) - clock.now)
    assert (limit.passed() is None) == (clock.now < min(ends))


@pytest.mark.parametrize(("left", "seconds"), [(2, 2), (math.inf, 5), (0, 0), (-1, 0)])
def test_no_limit_is_longer_than_a_strangers_deadline_leaves(
    clock: Clock, left: float, seconds: float
) -> None:
    """It is enforced here, since no other layer may enforce it."""
    limit = TimeLimit(5, "deadline", clock, Foreign(left))

    assert limit.seconds == limit.own_remaining() == limit.remaining() == seconds


def test_a_deadline_that_has_passed_leaves_nothing(clock: Clock) -> None:
    """The remaining time is never negative, even if a foreign deadline says so."""
    deadline = Foreign(1)
    limit = TimeLimit(5, "deadline", clock, deadline)
    deadline.remaining = lambda: -3.0  # type: ignore[method-assign]  # time has passed

    assert limit.remaining() == 0


def test_the_limit_that_has_passed_is_named_the_outermost_first(clock: Clock) -> None:
    """An error names the limit that matters most."""
    outer = TimeLimit(5, "deadline", clock)
    inner = TimeLimit(2, "attempt timeout", clock, outer)
    assert inner.passed() is None

    clock.advance(2)
    assert inner.passed() is inner
    assert outer.passed() is None

    clock.advance(3)
    assert inner.passed() is outer


def test_a_limit_under_a_strangers_deadline_passes_with_it(clock: Clock) -> None:
    """The limit itself is named, since the foreign deadline has no name."""
    limit = TimeLimit(5, "deadline", clock, Foreign(0))

    assert limit.passed() is limit


def test_it_is_a_deadline(clock: Clock) -> None:
    """Layers that look for one in a request's extensions find it."""
    assert time_left({DEADLINE: TimeLimit(5, "deadline", clock)}) == 5


def test_it_tells_what_it_is(clock: Clock) -> None:
    """Its repr shows it in a debugger, and where extensions are printed."""
    assert repr(TimeLimit(5, "deadline", clock)) == "TimeLimit(5, 'deadline')"
