import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.support import Clock
from walltrack import CountWindow
from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.breakers import BreakersByKey
from walltrack.circuit_breaker.ledger import Ledger
from walltrack.circuit_breaker.state import CircuitMode, CircuitState
from walltrack.core.outcome import Verdict


def make(ledger: Ledger) -> CircuitBreaker:
    """A breaker that opens at its first failure."""
    return CircuitBreaker(failure_threshold=1, ledger=ledger)


def filled(keys: Iterable[int], *, bound: int, troubled: Iterable[int] = ()) -> BreakersByKey:
    """A collection with a breaker for each of `keys`; those of `troubled` are open."""
    breakers = BreakersByKey(make, bound)
    for key in keys:
        breakers.obtain(key)
    for key in troubled:
        breakers.obtain(key).record_failure()
    return breakers


def counting_breakers(clock: Clock, *, bound: int, threshold: int = 5) -> BreakersByKey:
    """A collection whose breakers stay closed after one failure, with a cooldown of 30 s."""
    return BreakersByKey(
        lambda ledger: CircuitBreaker(threshold, 30.0, clock=clock, ledger=ledger), bound
    )


def kept(breakers: BreakersByKey, keys: Iterable[int]) -> list[int]:
    """Those of `keys` that have a breaker."""
    return [key for key in keys if breakers.find(key) is not None]


def test_finding_makes_nothing() -> None:
    """Looking up a key without a breaker leaves the collection unchanged."""
    breakers = BreakersByKey(make, 1)

    assert breakers.find("a") is None
    assert len(breakers) == 0


def test_a_key_keeps_its_breaker() -> None:
    """The breaker made for a key is returned by each later lookup."""
    breakers = BreakersByKey(make, 2)

    first = breakers.obtain("a")

    assert breakers.obtain("a") is first
    assert breakers.find("a") is first
    assert breakers.obtain("b") is not first


def test_all_breakers_keep_one_ledger() -> None:
    """Every breaker uses the collection's ledger, so one number covers all of them."""
    breakers = filled([1, 2, 3], bound=3, troubled=[1, 3])

    assert breakers.alert == 2


def test_the_bound_holds() -> None:
    """While there are clean breakers to evict, the number of breakers stays within the bound."""
    breakers = filled(range(1000), bound=10)

    assert len(breakers) == 10


def test_up_to_the_bound_nothing_is_forgotten() -> None:
    """Exactly as many breakers as the bound may be kept."""
    assert kept(filled(range(10), bound=10), range(10)) == list(range(10))


def test_obtaining_a_known_key_forgets_nothing() -> None:
    """Only an insertion evicts a breaker."""
    breakers = filled([1, 2], bound=2)

    breakers.obtain(2)

    assert kept(breakers, [1, 2]) == [1, 2]


def test_the_oldest_clean_one_goes() -> None:
    """An insertion evicts the breaker that was made first, whether it was used since or not."""
    breakers = filled([1, 2, 3], bound=3)
    breakers.obtain(1)

    breakers.obtain(4)

    assert kept(breakers, [1, 2, 3, 4]) == [2, 3, 4]


def test_one_in_trouble_stays_and_the_oldest_clean_one_goes() -> None:
    """A breaker that is not clean is skipped, however old it is."""
    breakers = filled([1, 2, 3, 4], bound=4, troubled=[1, 2])

    breakers.obtain(5)

    assert kept(breakers, range(1, 6)) == [1, 2, 4, 5]


def test_a_closed_one_with_a_failure_stays_while_it_is_used(clock: Clock) -> None:
    """A count that has begun is kept for one cooldown, even though the breaker is closed."""
    breakers = counting_breakers(clock, bound=2)
    counting = breakers.obtain(1)
    counting.record_failure()
    clock.advance(30.0)

    for key in range(2, 50):
        breakers.obtain(key)

    assert counting.state is CircuitState.CLOSED
    assert breakers.find(1) is counting


def test_an_idle_one_with_a_failure_goes_when_no_clean_one_can(clock: Clock) -> None:
    """It is evicted after its cooldown and leaves no alert; its successor starts at 0."""
    breakers = counting_breakers(clock, bound=2)
    for key in (1, 2):
        breakers.obtain(key).record_failure()
        clock.advance(1.0)
    clock.advance(29.5)  # key 1 was used 31.5 s ago, key 2 30.5 s ago
    assert breakers.alert == 2

    breakers.obtain(3)  # key 1 goes
    assert kept(breakers, [1, 2, 3]) == [2, 3]
    assert breakers.alert == 1
    breakers.obtain(4)  # key 3, which is clean, goes before key 2
    assert kept(breakers, [1, 2, 3, 4]) == [2, 4]
    breakers.obtain(4).record_failure()
    breakers.obtain(5)
    assert kept(breakers, [2, 4, 5]) == [4, 5]
    assert breakers.alert == 1
    assert breakers.obtain(1).failure_count == 0


@pytest.mark.parametrize("use", ["admitted", "failed"])
def test_a_request_makes_an_idle_one_the_last_to_go(clock: Clock, use: str) -> None:
    """An admission or a failure makes it recently used; a failure that does not count does not."""
    breakers = counting_breakers(clock, bound=3)
    for key in (1, 2, 3):
        breakers.obtain(key).record_failure()
    early = breakers.epoch
    clock.advance(20.0)
    if use == "admitted":
        assert breakers.obtain(1).admit() is not None
    else:
        breakers.obtain(1).settle(early, Verdict.FAILURE)
    breakers.obtain(2).settle(-1, Verdict.FAILURE)
    clock.advance(20.0)

    breakers.obtain(4)
    breakers.obtain(4).record_failure()
    breakers.obtain(5)
    breakers.obtain(5).record_failure()
    breakers.obtain(6)  # beyond the bound: key 1 was used 20 s ago

    assert kept(breakers, range(1, 7)) == [1, 4, 5, 6]


def test_an_evicted_one_ignores_what_was_in_flight(clock: Clock) -> None:
    """Late results do not change it; calls that begin later count only for this breaker."""
    breakers = counting_breakers(clock, bound=1)
    evicted = breakers.obtain("a")
    evicted.record_failure()
    in_flight = [evicted.acquire() for _ in range(10)]
    clock.advance(31.0)
    breakers.obtain("b")
    shown = repr(evicted)

    for permit in in_flight[:5]:
        permit.failure()
    for permit in in_flight[5:]:
        permit.success()
    assert repr(evicted) == shown
    assert evicted.failure_count == 1

    for _ in range(4):
        evicted.record_failure()
    assert evicted.state is CircuitState.OPEN
    assert breakers.alert == 0


def test_what_was_in_flight_counts_for_the_successor(clock: Clock) -> None:
    """The service failed, whichever breaker let the request through."""
    breakers = counting_breakers(clock, bound=1)
    evicted = breakers.obtain("a")
    evicted.record_failure()
    admission = evicted.admit()
    assert admission is not None
    clock.advance(31.0)
    breakers.obtain("b")

    successor = breakers.obtain("a")
    successor.settle(admission.ticket, Verdict.FAILURE)

    assert successor.failure_count == 1


class Counted(CircuitBreaker):
    """Counts how often any breaker of the class is asked for its idle time."""

    asked = 0

    def idle_for(self) -> float | None:
        type(self).asked += 1
        return super().idle_for()


@pytest.fixture
def counted() -> type[Counted]:
    """A class of breakers, none of which has been asked yet."""
    return type("Counted", (Counted,), {"__slots__": ()})


def test_a_crawler_of_many_origins_holds_no_more_than_the_bound(
    clock: Clock, counted: type[Counted]
) -> None:
    """60,000 origins fail once each, 100 per second; an insertion checks one breaker at most."""
    breakers = BreakersByKey(lambda ledger: counted(clock=clock, ledger=ledger), 10_000)
    for key in range(60_000):
        before = counted.asked
        breakers.obtain(key).record_failure()
        assert counted.asked - before <= 1
        assert len(breakers) <= 10_000
        clock.advance(0.01)
    assert breakers.alert == len(breakers) == 10_000
    assert kept(breakers, range(60_000)) == list(range(50_000, 60_000))


@pytest.mark.parametrize("threshold", [1, 2])
def test_after_a_burst_beyond_the_bound_each_breaker_is_asked_once(
    clock: Clock, counted: type[Counted], threshold: int
) -> None:
    """20,000 origins that fail at once are kept; the next insertion evicts those that may go."""
    breakers = BreakersByKey(lambda ledger: counted(threshold, clock=clock, ledger=ledger), 5_000)
    for key in range(20_000):
        breakers.obtain(key).record_failure()
    assert len(breakers) == 20_000
    clock.advance(31.0)
    for key in range(20_000, 21_000):
        breakers.obtain(key).record_failure()
    if threshold == 1:  # open ones stay
        assert len(breakers) == 21_000
    else:
        assert kept(breakers, range(21_000)) == list(range(16_000, 21_000))
    assert counted.asked <= 20_000 + 21_000


@pytest.mark.parametrize("seed", range(20))
def test_at_random_only_those_go_that_may(seed: int, clock: Clock) -> None:
    """After any sequence of steps, the kept and evicted breakers and the alert follow the rules."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    breakers = counting_breakers(clock, bound=5, threshold=3)
    used: dict[CircuitBreaker, float] = {}
    present: dict[int, CircuitBreaker] = {}

    def is_clean(breaker: CircuitBreaker) -> bool:
        automatic = breaker.mode is CircuitMode.AUTOMATIC
        return automatic and breaker.state is CircuitState.CLOSED and not breaker.failure_count

    def may_go(breaker: CircuitBreaker) -> bool:
        closed = breaker.mode is CircuitMode.AUTOMATIC and breaker.state is CircuitState.CLOSED
        return closed and (is_clean(breaker) or clock() - used[breaker] > 30.0)

    for _ in range(400):
        key = chance.randrange(12)
        could = {known: may_go(breaker) for known, breaker in present.items()}
        breaker = breakers.obtain(key)
        gone = [known for known, kept in present.items() if breakers.find(known) is not kept]
        assert all(could[known] for known in gone)
        for known in gone:
            del present[known]
        present[key] = breaker
        if len(present) > 5 and key not in could:
            assert not any(could[known] for known in present if known != key)

        action = chance.choice(
            [*[CircuitBreaker.record_failure] * 6, *[CircuitBreaker.record_success] * 2]
            + [CircuitBreaker.force_open, CircuitBreaker.observe_only, CircuitBreaker.disable]
            + [CircuitBreaker.reset] * 3
        )
        action(breaker)
        used[breaker] = clock()
        clock.advance(chance.choice([0.0, 1.0, 10.0, 40.0]))
        assert len(breakers) == len(present)
        assert breakers.alert == sum(not is_clean(kept) for kept in present.values())


def test_open_ones_are_never_forgotten() -> None:
    """However many keys come, the open breakers are still the same objects."""
    breakers = filled(range(10), bound=10, troubled=range(9))
    before = [breakers.find(key) for key in range(9)]

    for key in range(10, 500):
        breakers.obtain(key)

    assert [breakers.find(key) for key in range(9)] == before
    assert len(breakers) == 10


def test_a_great_outage_exceeds_the_bound() -> None:
    """When every breaker is open, all are kept, beyond the bound."""
    breakers = BreakersByKey(make, 3)

    for key in range(20):
        breakers.obtain(key).record_failure()

    assert kept(breakers, range(20)) == list(range(20))


def test_one_that_recovered_can_be_forgotten() -> None:
    """A breaker that is clean again can be evicted like any other."""
    breakers = BreakersByKey(lambda ledger: CircuitBreaker(2, ledger=ledger), 2)
    for key in (1, 2):
        breakers.obtain(key).record_failure()
    breakers.obtain(1).record_success()

    breakers.obtain(3)

    assert kept(breakers, [1, 2, 3]) == [2, 3]


def test_the_bound_holds_again_once_the_outage_is_over() -> None:
    """The next insertion evicts all that exceed the bound, as soon as they are clean."""
    clock = Clock()
    breakers = BreakersByKey(lambda ledger: CircuitBreaker(1, ledger=ledger, clock=clock), 3)
    for key in range(20):
        breakers.obtain(key).record_failure()
    clock.advance(30.0)
    for key in range(20):
        breakers.obtain(key).record_success()

    breakers.obtain(20)

    assert kept(breakers, range(21)) == [18, 19, 20]
    assert len(breakers) == 3
    assert breakers.alert == 0


def test_what_was_late_for_a_forgotten_breaker_is_late_for_its_successor() -> None:
    """A failure that began before the circuit closed does not open it, evicted or not."""
    clock = Clock()
    breakers = BreakersByKey(lambda ledger: CircuitBreaker(1, ledger=ledger, clock=clock), 1)
    early = breakers.epoch
    breakers.obtain("a").record_failure()
    clock.advance(30.0)
    breakers.obtain("a").record_success()
    breakers.obtain("b")
    assert breakers.find("a") is None

    successor = breakers.obtain("a")
    successor.settle(early, Verdict.FAILURE)

    assert successor.state is CircuitState.CLOSED
    assert successor.failure_count == 0


def test_a_forgotten_breaker_in_somebodys_hand_is_of_no_concern() -> None:
    """Its failures do not raise the alert, since it would never be lowered again."""
    breakers = BreakersByKey(make, 1)
    forgotten = breakers.obtain("a")
    breakers.obtain("b")

    forgotten.record_failure()
    assert breakers.alert == 0

    breakers.obtain("b").record_failure()
    assert breakers.alert == 1


def test_a_closed_one_with_a_window_can_be_forgotten() -> None:
    """Failures in a window do not prevent eviction: nearly every origin has some."""
    window = CountWindow(4, minimum_calls=4)
    breakers = BreakersByKey(lambda ledger: CircuitBreaker(window=window, ledger=ledger), 2)
    breakers.obtain(1).record_failure()
    opened = breakers.obtain(2)
    for _ in range(4):
        opened.record_failure()

    breakers.obtain(3)

    assert kept(breakers, [1, 2, 3]) == [2, 3]
    assert breakers.find(2) is opened
    assert breakers.obtain(1).failure_count == 0


@pytest.mark.parametrize(
    "by_hand",
    [CircuitBreaker.force_open, CircuitBreaker.disable, CircuitBreaker.observe_only],
)
def test_one_that_was_set_manually_is_never_evicted(
    by_hand: Callable[[CircuitBreaker], None],
) -> None:
    """A mode that was set manually holds until it is changed manually."""
    breakers = filled([1, 2], bound=2)
    changed = breakers.obtain(1)
    by_hand(changed)

    for key in range(3, 50):
        breakers.obtain(key)
    assert breakers.find(1) is changed

    changed.reset()
    breakers.obtain(50)
    breakers.obtain(51)
    assert breakers.find(1) is None


@pytest.mark.parametrize(
    ("bound", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_a_bad_bound_is_refused(bound: Any, error: type[Exception]) -> None:  # noqa: ANN401 - bad on purpose
    """Anything but a whole number above zero is refused by name."""
    with pytest.raises(error, match=r"^max_breakers must be"):
        BreakersByKey(make, bound)


def test_a_bound_of_one_is_enough() -> None:
    """The smallest collection holds the newest breaker."""
    assert kept(filled([1, 2], bound=1), [1, 2]) == [2]
