import pytest

from walltrack.core.shared_state import TokenLease
from walltrack.rate_limit.leased_bucket import LeasedBucket

NOW = 1000.0


def leasing(
    tokens: int, first_in: float = 0.0, rate: float = 100.0, burst: int = 1
) -> LeasedBucket:
    """A bucket that has just received a lease; its batch is 10 tokens, one each 10 ms."""
    bucket = LeasedBucket(rate, 1.0, burst)
    bucket.receive(NOW, NOW, TokenLease(tokens, first_in, 0.0), patience=60.0)
    return bucket


def test_it_begins_without_tokens() -> None:
    """They are leased when a caller needs one; until then, nothing shows that it has to wait."""
    bucket = LeasedBucket(100.0, 1.0, 1)
    assert not bucket.take(NOW)
    assert bucket.opens_in(NOW) == 0.0
    assert bucket.wanted(NOW, 1) == 1


def test_tokens_come_one_after_the_other() -> None:
    """Each at its own time, so that the processes of a fleet take turns."""
    bucket = leasing(3, first_in=0.5)
    assert not bucket.take(NOW + 0.49)
    taken = [bucket.take(NOW + 0.5 + seconds) for seconds in (0.0, 0.005, 0.011, 0.021, 0.04)]
    assert taken == [True, False, True, True, False]


def test_a_batch_is_limited() -> None:
    """To a tenth of a second, but one token at least; however many are waiting or received."""
    assert LeasedBucket(100.0, 1.0, 1).wanted(NOW, 50) == 10
    assert LeasedBucket(100.0, 1.0, 1).wanted(NOW, 3) == 3
    assert LeasedBucket(1.0, 1.0, 1).wanted(NOW, 50) == 1
    bucket = leasing(1_000_000)
    assert sum(bucket.take(NOW + 0.1) for _ in range(100)) == 10


def test_a_burst_is_there_at_once() -> None:
    """Tokens that lie in the past can be used from their lease on."""
    bucket = leasing(5, first_in=-4.0, rate=1.0, burst=5)
    assert bucket.take(NOW)
    bucket = leasing(5, first_in=-0.02, burst=3)
    assert [bucket.take(NOW) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(NOW + 0.011)


def test_an_unused_token_lapses() -> None:
    """After a tenth of a second, so that a pause is not followed by a burst."""
    bucket = leasing(5)
    assert not bucket.take(NOW + 0.15)
    assert bucket.wanted(NOW + 0.15, 1) == 1


def test_the_time_of_the_answer_shortens_the_use_of_a_token() -> None:
    """It begins after the round trip, and ends a tenth of a second after its start at the earliest.

    So no token is used before its time in the store, or more than a tenth of a second after it.
    """
    bucket = LeasedBucket(100.0, 1.0, 1)
    bucket.receive(NOW, NOW + 0.04, TokenLease(2, 0.01, 0.0), patience=60.0)
    assert not bucket.take(NOW + 0.049)
    assert bucket.take(NOW + 0.051)
    assert not bucket.take(NOW + 0.121)


def test_a_slow_answer_is_worth_one_token_at_least() -> None:
    """All others have lapsed when it comes; without this one, no caller would ever be served."""
    bucket = LeasedBucket(100.0, 1.0, 1)
    bucket.receive(NOW, NOW + 0.3, TokenLease(5, 0.0, 0.0), patience=60.0)
    assert not bucket.take(NOW + 0.33)
    assert [bucket.take(NOW + 0.35) for _ in range(3)] == [True, False, False]


def test_no_tokens_are_leased_while_there_are_some() -> None:
    """This holds also if the tokens are not due yet."""
    assert leasing(3, first_in=0.5).wanted(NOW, 10) == 0


def test_a_caller_learns_when_its_token_comes() -> None:
    """From the leased tokens; behind them, not before the fleet's next one."""
    bucket = leasing(3, first_in=0.5)
    times = [bucket.opens_in(NOW, ahead) for ahead in range(5)]
    assert times == pytest.approx([0.5, 0.51, 0.52, 0.53, 0.54])


def test_a_long_queue_is_relied_on_for_a_second() -> None:
    """Then the store is asked again: the answer may have been nonsense."""
    bucket = LeasedBucket(100.0, 1.0, 1)
    bucket.receive(NOW, NOW, TokenLease(0, 100.0, 0.0), patience=1.0)
    assert bucket.opens_in(NOW + 0.9) == pytest.approx(99.1)
    assert bucket.opens_in(NOW + 1.0) == 0.0
    assert bucket.opens_in(NOW + 1.0, ahead=2) == pytest.approx(0.02)


def test_it_is_closed_while_the_fleet_holds_back() -> None:
    """Its tokens can be used afterwards, unless they have lapsed; a minute at most at once."""
    bucket = leasing(3)
    bucket.hold_back(NOW, 0.05)
    assert not bucket.take(NOW)
    assert bucket.wanted(NOW, 1) == 0
    assert bucket.opens_in(NOW) == pytest.approx(0.05)
    assert bucket.take(NOW + 0.05)
    assert bucket.receive(NOW, NOW, TokenLease(0, 0.0, 7.0), patience=1.0) == 7.0
    assert bucket.receive(NOW, NOW, TokenLease(0, 0.0, 1e9), patience=1.0) == 60.0


@pytest.mark.parametrize("lease", [None, TokenLease(5, 1e9, 0.0)])
def test_without_an_answer_it_is_the_bucket_of_its_own_process(lease: TokenLease | None) -> None:
    """For a second; then the store is asked again. A token in a thousand years is no answer."""
    bucket = LeasedBucket(10.0, 1.0, 2)
    assert bucket.receive(NOW, NOW, lease, patience=60.0) == 0.0
    assert bucket.wanted(NOW, 1) == 0
    assert [bucket.take(NOW) for _ in range(3)] == [True, True, False]
    assert bucket.opens_in(NOW) == pytest.approx(0.1)
    assert bucket.wanted(NOW + 1.0, 1) == 1
    assert not bucket.take(NOW + 1.0)


def test_it_is_like_a_new_one_without_tokens() -> None:
    """It can then be evicted, but not while it is closed by a hold-back."""
    bucket = leasing(3)
    assert not bucket.is_full(NOW)
    assert bucket.is_full(NOW + 0.2)
    bucket.hold_back(NOW, 10.0)
    assert not bucket.is_full(NOW + 0.2)
