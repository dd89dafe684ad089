import math

import pytest

from tests.support import Clock
from walltrack import AttemptTimeout
from walltrack.timeout.limits import HEADERS


@pytest.mark.parametrize("limit", ["headers", "idle", "total"])
@pytest.mark.parametrize(
    ("seconds", "error"),
    [(0, ValueError), (-1, ValueError), (math.inf, ValueError), ("5", TypeError)],
)
def test_a_limit_that_is_none_is_refused(
    limit: str, seconds: object, error: type[Exception]
) -> None:
    """The error names the limit."""
    with pytest.raises(error, match=f"^{limit} must be"):
        AttemptTimeout(**{limit: seconds})  # type: ignore[arg-type]


def test_without_any_limit_there_is_nothing_to_enforce() -> None:
    """A constructor without any limit raises an error."""
    with pytest.raises(ValueError, match="at least one of headers, idle, total must be given"):
        AttemptTimeout()


@pytest.mark.parametrize(
    ("limits", "first", "seconds"),
    [
        (AttemptTimeout(headers=3, total=5), HEADERS, 3),
        (AttemptTimeout(headers=5, total=3), "attempt timeout", 3),
        (AttemptTimeout(headers=5, total=5), "attempt timeout", 5),
        (AttemptTimeout(headers=5), HEADERS, 5),
        (AttemptTimeout(total=5, idle=1), "attempt timeout", 5),
        (AttemptTimeout(idle=1), "attempt timeout", math.inf),
    ],
)
def test_which_limit_strikes_first(
    clock: Clock, limits: AttemptTimeout, first: str, seconds: float
) -> None:
    """Before the headers, the shorter limit ends first; the one between chunks does not count."""
    limit = limits.to_headers(limits.begin("attempt timeout", clock, None), clock)
    assert (limit.name, limit.seconds) == (first, seconds)


@pytest.mark.parametrize(
    ("limits", "covers"),
    [
        (AttemptTimeout(headers=1), False),
        (AttemptTimeout(idle=1), True),
        (AttemptTimeout(total=1), True),
    ],
)
def test_which_limits_cover_bodies(limits: AttemptTimeout, *, covers: bool) -> None:
    """A body that no limit covers is not wrapped."""
    assert limits.covers_bodies is covers
