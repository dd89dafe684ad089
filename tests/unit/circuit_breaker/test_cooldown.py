import random

import pytest

from walltrack import Backoff
from walltrack.circuit_breaker.cooldown import Cooldown, growth_of


class Upper:
    """Randomness that always yields the upper bound."""

    def uniform(self, a: float, b: float, /) -> float:
        del a
        return b


@pytest.mark.parametrize(("cooldown", "cooldown_seconds"), [(7, None), (7.0, None), (30.0, 7)])
def test_a_number_of_seconds_does_not_grow(cooldown: float, cooldown_seconds: float | None) -> None:
    """With either argument name, every opening waits as long as the first."""
    cooldowns = Cooldown(growth_of(cooldown, cooldown_seconds), random)

    assert [cooldowns.begin() for _ in range(3)] == [7.0] * 3


def test_a_backoff_says_how_it_grows() -> None:
    """A backoff is used as given."""
    growth = Backoff(base=5.0, cap=30.0)

    assert growth_of(growth, None) is growth


@pytest.mark.parametrize("cooldown", [5.0, Backoff(base=5.0)])
def test_two_cooldowns_are_refused(cooldown: float | Backoff) -> None:
    """Choosing one of them would ignore the other."""
    with pytest.raises(TypeError, match="cooldown and cooldown_seconds are two names"):
        growth_of(cooldown, 7.0)


def test_a_cooldown_doubles_with_every_opening_up_to_its_cap() -> None:
    """The k-th opening in a row waits for base times 2 to the k, and never longer than the cap."""
    cooldown = Cooldown(Backoff(base=5.0, cap=30.0), random)

    assert [cooldown.begin() for _ in range(5)] == [5.0, 10.0, 20.0, 30.0, 30.0]


def test_a_cooldown_begins_anew_after_a_recovery() -> None:
    """Once the breaker has closed, the next opening waits for the base."""
    cooldown = Cooldown(Backoff(base=5.0, cap=30.0), random)
    cooldown.begin()
    cooldown.begin()
    cooldown.reset()

    assert [cooldown.begin(), cooldown.begin()] == [5.0, 10.0]


def test_it_tells_the_newest_one() -> None:
    """Before the first opening it is the base, then the last wait, jitter included."""
    rng = random.Random(1)  # noqa: S311 - jitter is no secret
    cooldown = Cooldown(Backoff(base=8.0, cap=30.0, jitter="equal"), rng)
    assert cooldown.seconds == 8.0

    seconds = cooldown.begin()

    assert 4.0 <= seconds < 8.0
    assert cooldown.seconds == seconds


@pytest.mark.parametrize("opening", [0, 1, 2])
def test_jitter_spreads_each_of_them(opening: int) -> None:
    """Of many breakers that open together, no two send a probe at the same time."""
    rng = random.Random(1)  # noqa: S311 - jitter is no secret
    waits = set()
    for _ in range(100):
        cooldown = Cooldown(Backoff(base=8.0, cap=100.0, jitter="equal"), rng)
        waits.add([cooldown.begin() for _ in range(opening + 1)][-1])

    assert len(waits) == 100
    assert 4.0 * 2**opening <= min(waits) < max(waits) < 8.0 * 2**opening


def test_decorrelated_jitter_grows_from_the_one_before() -> None:
    """Its upper bound is three times the previous cooldown, jitter included."""
    cooldown = Cooldown(Backoff(base=2.0, cap=100.0, jitter="decorrelated"), Upper())

    assert [cooldown.begin() for _ in range(5)] == [6.0, 18.0, 54.0, 100.0, 100.0]
