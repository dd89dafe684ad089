import math

import pytest

from walltrack.circuit_breaker.probation import Probation, needed


@pytest.mark.parametrize(
    ("probes", "share", "enough"),
    [
        (1, 1.0, 1),
        (1, 0.01, 1),
        (3, 0.5, 2),
        (4, 0.5, 2),
        (10, 0.3, 3),
        (10, 0.31, 4),
        (100, 0.07, 7),
        (30, 0.1, 3),
        (3, 1 / 3, 1),
        (7, 1.0, 7),
    ],
)
def test_the_needed_share_is_counted_without_rounding_errors(
    probes: int, share: float, enough: int
) -> None:
    """It is the smallest whole number not below the share, with the share read as a decimal."""
    assert needed(probes, share) == enough


def test_places_are_free_until_all_are_taken() -> None:
    """A settled probe keeps its place; one without a verdict gives it back."""
    probation = Probation(places=2, enough=2, seconds=10.0)
    assert probation.shut_until() == -math.inf

    probation.begin(1, 0.0)
    assert probation.shut_until() == -math.inf
    probation.begin(2, 1.0)
    assert probation.shut_until() == 10.0

    probation.settle(1, good=True)
    assert probation.shut_until() == 11.0
    probation.give_back(2)
    assert probation.shut_until() == -math.inf


def test_it_is_passed_by_enough_good_ones() -> None:
    """As soon as enough have succeeded it is passed, whatever the outcome of the others."""
    probation = Probation(places=3, enough=2, seconds=10.0)
    for ticket in (1, 2, 3):
        probation.begin(ticket, 0.0)

    probation.settle(1, good=False)
    probation.settle(2, good=True)
    assert not probation.is_passed(0.0)
    probation.settle(3, good=True)
    assert probation.is_passed(0.0)
    assert not probation.is_failed()


def test_it_is_failed_as_soon_as_enough_cannot_be_reached() -> None:
    """With two failures of three, only one success is still possible."""
    probation = Probation(places=3, enough=2, seconds=10.0)
    probation.begin(1, 0.0)
    probation.begin(2, 0.0)

    probation.settle(1, good=False)
    assert not probation.is_failed()
    probation.settle(2, good=False)
    assert probation.is_failed()


def test_good_headers_are_a_success_when_their_time_is_over() -> None:
    """Exactly at the end of a probe's time, not before, and not without headers."""
    probation = Probation(places=2, enough=2, seconds=10.0)
    probation.begin(1, 0.0)
    probation.begin(2, 2.0)
    probation.answered(1)
    assert probation.shut_until() == 12.0
    probation.answered(2)
    assert probation.shut_until() == 12.0

    assert not probation.is_passed(math.nextafter(12.0, 0.0))
    assert probation.is_passed(12.0)


def test_a_probe_without_an_answer_loses_its_place_to_the_next() -> None:
    """The oldest unanswered one is replaced; one with good headers counts as a success."""
    probation = Probation(places=3, enough=3, seconds=1.0)
    for ticket in (1, 2, 3):
        probation.begin(ticket, float(ticket))
    probation.answered(1)

    assert probation.begin(4, 13.0) == 3

    assert [ticket in probation for ticket in (1, 2, 3, 4)] == [False, False, True, True]
    probation.settle(3, good=True)
    probation.settle(4, good=True)
    assert probation.is_passed(4.0)


def test_the_oldest_probe_in_flight_is_returned() -> None:
    """Older tickets can no longer count."""
    probation = Probation(places=3, enough=1, seconds=1.0)

    assert probation.begin(5, 0.0) == 5
    assert probation.begin(6, 1.0) == 5
    probation.give_back(5)
    assert probation.begin(7, 2.0) == 6


def test_the_time_doubles_each_time_that_all_places_were_lost() -> None:
    """Answers that take longer than the first cooldown eventually arrive in time."""
    probation = Probation(places=2, enough=2, seconds=1.0)
    for ticket in (1, 2):
        probation.begin(ticket, 0.0)

    probation.begin(3, 10.0)
    assert probation.seconds == 1.0
    probation.begin(4, 20.0)
    assert probation.seconds == 2.0
    assert probation.shut_until() == 11.0
    probation.give_back(3)
    assert probation.shut_until() == -math.inf
    probation.begin(5, 21.0)
    assert probation.shut_until() == 22.0
    assert probation.seconds == 2.0
