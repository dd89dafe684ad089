from typing import Any

import pytest

from walltrack.core.statuses import (
    DEFAULT_RETRY_STATUSES,
    UNHEALTHY_STATUSES,
    StatusSet,
    valid_statuses,
)


def test_which_statuses_fail() -> None:
    """429 and every 5xx are retried; 501 and 505 do not count against the service."""
    retried = {429, *range(500, 600)}
    assert set(DEFAULT_RETRY_STATUSES) == retried
    assert set(UNHEALTHY_STATUSES) == retried - {501, 505}


@pytest.mark.parametrize(
    ("statuses", "shown"),
    [
        ([429, *range(500, 600)], "<429, 5xx>"),
        ([*range(400, 600)], "<400-599>"),
        ([503], "<503>"),
        ([500, 502, 503, 504], "<500, 502-504>"),
        ([], "<>"),
    ],
)
def test_a_set_reads_as_people_write_it(statuses: list[int], shown: str) -> None:
    """Whole classes and ranges are shortened."""
    assert repr(StatusSet(statuses)) == shown


def test_a_set_can_be_changed_from_left_to_right() -> None:
    """Each step returns another set, and leaves the previous one unchanged."""
    changed = DEFAULT_RETRY_STATUSES.plus(409, 425).minus(501)
    assert repr(changed) == "<409, 425, 429, 500, 502-599>"
    assert repr(DEFAULT_RETRY_STATUSES) == "<429, 5xx>"
    assert changed.minus(409) == changed - {409}


@pytest.mark.parametrize("statuses", [{500, 404}, [404, 500, 500], (404, 500), range(100, 600), []])
def test_statuses_become_a_frozen_set(statuses: Any) -> None:  # noqa: ANN401 - any collection
    """Any collection of statuses from 100 to 599 is accepted, even an empty one."""
    assert valid_statuses("statuses", statuses) == frozenset(statuses)


@pytest.mark.parametrize("statuses", ["503", b"503", ["503"], [503.0], [None]])
def test_statuses_of_other_types_are_refused(statuses: Any) -> None:  # noqa: ANN401 - bad on purpose
    """A collection of anything but whole numbers is refused by name, as are text and bytes."""
    with pytest.raises(TypeError, match=r"^statuses must be a collection of whole numbers, got "):
        valid_statuses("statuses", statuses)


@pytest.mark.parametrize("strange", [99, 600, 0, -1, True])
def test_numbers_that_are_no_status_are_refused(strange: int) -> None:
    """The message lists them."""
    message = rf"^statuses must be HTTP statuses from 100 to 599, got \[{strange}\]$"
    with pytest.raises(ValueError, match=message):
        valid_statuses("statuses", [503, strange])


@pytest.mark.parametrize(
    "given", [503, None, iter([503])], ids=["one number", "None", "an iterator"]
)
def test_statuses_that_are_no_collection_are_refused(given: Any) -> None:  # noqa: ANN401 - bad on purpose
    """A single status is refused by name, as is an iterator, which could be read only once."""
    with pytest.raises(TypeError, match=r"^statuses must be a collection"):
        valid_statuses("statuses", given)
