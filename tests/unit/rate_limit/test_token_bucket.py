import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltrack.rate_limit.token_bucket import TokenBucket

NOW = 1000.0


def times_taken(bucket: TokenBucket, times: int, now: float = NOW) -> list[float]:
    """The times at which a number of tokens are taken, each after the wait the bucket states."""
    taken: list[float] = []
    for _ in range(times):
        now += bucket.opens_in(now)
        assert bucket.take(now)
        taken.append(now)
    return taken


def test_a_burst_goes_at_once_and_no_more() -> None:
    """A bucket starts full; once empty, it states the time until the next token."""
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(NOW) for _ in range(5)] == [True, True, True, False, False]
    assert bucket.opens_in(NOW) == pytest.approx(0.1)


def test_tokens_come_back_at_the_rate() -> None:
    """One comes back in each interval, as long as they are taken."""
    taken = times_taken(TokenBucket(rate=5, per=2.0), 4)
    assert [after - before for before, after in pairwise(taken)] == pytest.approx([0.4] * 3)


def test_no_more_than_a_burst_is_saved_up() -> None:
    """A long pause adds no more tokens than `burst`."""
    bucket = TokenBucket(rate=1, burst=2)
    times_taken(bucket, 2)
    assert [bucket.take(NOW + 1e6) for _ in range(3)] == [True, True, False]


def test_a_token_is_there_a_rounding_error_early() -> None:
    """Ten tenths add up to a little less than one."""
    bucket = TokenBucket(rate=1)
    assert bucket.take(NOW)
    assert bucket.take(NOW + sum([0.1] * 10))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.9999, 0.99999])
@pytest.mark.parametrize("rate", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("burst", [1, 3])
def test_no_token_is_there_before_its_interval_is_over(
    share: float, rate: float, burst: int
) -> None:
    """However little of the interval is missing, `opens_in` is exactly that wait."""
    bucket, interval = TokenBucket(rate=rate, burst=burst), 1 / rate
    for _ in range(burst):
        assert bucket.take(NOW)
    now = NOW + share * interval
    assert not bucket.take(now)
    assert bucket.opens_in(now) == pytest.approx((1 - share) * interval, rel=1e-3)
    assert bucket.take(NOW + interval)


@pytest.mark.parametrize("share", [0.9, 0.99, 0.9999])
def test_a_bucket_is_full_no_earlier_than_its_last_token_is_back(share: float) -> None:
    """Evicted earlier, it would be replaced by a full one, and the rate would be exceeded."""
    bucket = TokenBucket(rate=1, burst=3)
    for _ in range(3):
        assert bucket.take(NOW)
    assert not bucket.is_full(NOW + 2 + share)
    assert bucket.is_full(NOW + 3)


def test_what_is_taken_early_is_missing_later() -> None:
    """The rounding errors of many tokens do not add up to a higher rate."""
    bucket = TokenBucket(rate=1)
    for number in range(1000):
        assert bucket.take(NOW + number * (1 - 1e-10))
    assert bucket.opens_in(NOW + 999) == pytest.approx(1.0, abs=1e-9)


def test_each_caller_ahead_takes_a_token() -> None:
    """The wait of a queued caller is known before it begins."""
    bucket = TokenBucket(rate=2, burst=3)
    assert [bucket.opens_in(NOW, ahead) for ahead in range(6)] == [0, 0, 0, 0.5, 1.0, 1.5]


def test_without_a_rate_there_are_always_enough() -> None:
    """A bucket without a rate is only used for hold-backs."""
    bucket = TokenBucket(None)
    assert all(bucket.take(NOW) for _ in range(1000))
    assert bucket.opens_in(NOW, ahead=1000) == 0.0
    assert bucket.is_full(NOW)


def test_a_bucket_that_is_shut_gives_nothing() -> None:
    """It gives no token until the hold-back ends, and then a whole burst at once."""
    bucket = TokenBucket(rate=1, burst=2)
    assert bucket.hold_back(NOW, 5.0) == 5.0
    assert not bucket.take(NOW + 4.9)
    assert [bucket.opens_in(NOW + 2, ahead) for ahead in range(4)] == [3, 3, 4, 5]
    assert [bucket.take(NOW + 5) for _ in range(3)] == [True, True, False]


def test_a_bucket_without_a_rate_can_be_shut() -> None:
    """When the hold-back ends, it opens for all callers at once."""
    bucket = TokenBucket(None)
    bucket.hold_back(NOW, 5.0)
    assert not bucket.take(NOW)
    assert bucket.opens_in(NOW, ahead=7) == 5.0
    assert bucket.take(NOW + 5)


def test_the_longest_wait_that_was_asked_for_holds() -> None:
    """A later hold-back that ends earlier does not shorten it."""
    bucket = TokenBucket(None)
    bucket.hold_back(NOW, 10.0)
    assert bucket.hold_back(NOW, 2.0) == 0.0
    assert bucket.opens_in(NOW) == 10.0


def test_a_repeated_limit_is_not_reported_but_is_respected() -> None:
    """Responses to requests in flight name nearly the same moment: the first is reported."""
    bucket = TokenBucket(None)
    assert bucket.hold_back(NOW, 10.0) == 10.0
    assert bucket.hold_back(NOW + 0.5, 10.0) == 0.0
    assert bucket.opens_in(NOW + 0.5) == 10.0
    assert bucket.hold_back(NOW + 1.0, 10.0) == 10.0
    assert bucket.hold_back(NOW + 11.0, 0.25) == 0.25


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, -math.inf])
def test_to_be_shut_for_no_time_means_nothing(seconds: float) -> None:
    """A hold-back that is zero, negative or not a number is ignored."""
    bucket = TokenBucket(None)
    assert bucket.hold_back(NOW, seconds) == 0.0
    assert bucket.take(NOW)


def test_a_full_bucket_is_as_good_as_a_new_one() -> None:
    """It is full only if no token is missing and no hold-back is left."""
    bucket = TokenBucket(rate=1, burst=2)
    assert bucket.is_full(NOW)
    bucket.take(NOW)
    assert not bucket.is_full(NOW + 0.9)
    assert bucket.is_full(NOW + 1.0)
    bucket.hold_back(NOW, 5.0)
    assert not bucket.is_full(NOW + 4.9)
    assert bucket.is_full(NOW + 5.0)


@given(
    rate=st.floats(0.01, 1000.0),
    per=st.floats(0.01, 100.0),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60),
)
def test_no_window_lets_more_through_than_was_agreed(
    rate: float, per: float, burst: int, pauses: list[float]
) -> None:
    """Whenever requests come, any period admits at most `burst + rate * seconds / per`."""
    bucket, now, taken = TokenBucket(rate, per, burst), NOW, list[float]()
    interval = per / rate
    for pause in pauses:
        now += pause * interval
        if bucket.take(now):
            taken.append(now)
    for first, begin in enumerate(taken):
        for last, end in enumerate(taken[first:], start=first):
            assert last - first + 1 <= burst + (end - begin) / interval + 1e-4


@given(
    rate=st.floats(0.01, 1000.0),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=40),
)
def test_no_caller_waits_longer_than_needed(rate: float, burst: int, pauses: list[float]) -> None:
    """A request that waits does so because the one `burst` before it went just one wait earlier."""
    bucket, now, taken, interval = TokenBucket(rate, 1.0, burst), NOW, list[float](), 1.0 / rate
    for pause in pauses:
        asked = now + pause * interval
        now = asked + bucket.opens_in(asked)
        assert bucket.take(now)
        taken.append(now)
        if now > asked + 1e-6 * interval:
            windows = enumerate(reversed(taken[:-1]), start=2)
            assert any(count >= burst + (now - begin) / interval - 1e-4 for count, begin in windows)


@given(
    rate=st.one_of(st.none(), st.floats(0.1, 100.0)),
    burst=st.integers(1, 5),
    used=st.integers(0, 5),
    held=st.floats(0.0, 10.0),
    ahead=st.integers(0, 10),
)
def test_the_wait_behind_others_is_what_it_turns_out_to_be(
    rate: float | None, burst: int, used: int, held: float, ahead: int
) -> None:
    """The wait that is computed at once agrees with taking the tokens one by one."""
    bucket = TokenBucket(rate, 1.0, burst)
    for _ in range(used):
        bucket.take(NOW)
    bucket.hold_back(NOW, held)
    expected = bucket.opens_in(NOW, ahead)
    assert times_taken(bucket, ahead + 1)[-1] == pytest.approx(NOW + expected, abs=1e-4)


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        ({"rate": 0}, ValueError, "rate must be a finite number above 0, got 0"),
        ({"rate": -1.0}, ValueError, "rate must be a finite number above 0"),
        ({"rate": math.inf}, ValueError, "rate must be a finite number above 0"),
        ({"rate": math.nan}, ValueError, "rate must be a finite number above 0"),
        ({"rate": "10"}, TypeError, "rate must be a number"),
        ({"rate": True}, TypeError, "rate must be a number"),
        ({"rate": 1, "per": 0.0}, ValueError, "per must be a finite number above 0"),
        ({"rate": 1, "per": None}, TypeError, "per must be a number"),
        ({"rate": 1, "burst": 0}, ValueError, "burst must be at least 1, got 0"),
        ({"rate": 1, "burst": 1.5}, TypeError, "burst must be a whole number"),
        ({"rate": None, "burst": 0}, ValueError, "burst must be at least 1"),
        ({"rate": 1, "burst": 10**400}, ValueError, r"burst must be a number below 2\*\*53"),
        ({"rate": 1e300, "per": 1e-300}, ValueError, "rate / per must be a finite number above 0"),
        ({"rate": 1e-300, "per": 1e300}, ValueError, "rate / per must be a finite number above 0"),
        (
            {"rate": 1e-300, "per": 1.0, "burst": 2**52},
            ValueError,
            "burst \\* per / rate must be a finite number above 0",
        ),
    ],
)
def test_bad_numbers_are_refused(bad: dict[str, Any], error: type[Exception], text: str) -> None:
    """The constructor raises an error that names the argument."""
    with pytest.raises(error, match=text):
        TokenBucket(**bad)
