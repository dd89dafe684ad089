from dataclasses import dataclass

import pytest

from walltrack.core.keyed import Keyed


@dataclass(eq=False)
class Thing:
    """What is kept, and whether it is in use."""

    idle: bool = True


def test_one_is_made_for_each_key() -> None:
    """The same key leads to the same one, another key to another."""
    things = Keyed(Thing, 10)
    assert things.obtain("a") is things.obtain("a")
    assert things.obtain("a") is not things.obtain("b")
    assert len(things) == 2


def test_the_oldest_idle_one_is_forgotten() -> None:
    """The bound holds, and what is in use stays."""
    things = Keyed(Thing, 2)
    used = things.obtain("used")
    used.idle = False
    idle = things.obtain("idle")

    things.obtain("new")

    assert len(things) == 2
    assert things.obtain("used") is used
    assert things.obtain("idle") is not idle


def test_what_is_in_use_exceeds_the_bound() -> None:
    """None of it is lost, and the bound holds again when it is idle."""
    things = Keyed(Thing, 3)
    kept = [things.obtain(key) for key in range(20)]
    for key in range(100, 120):
        things.obtain(key).idle = False
    assert len(things) == 20

    for key in range(100, 120):
        things.obtain(key).idle = True
    for key in range(200, 240):
        things.obtain(key)
    assert len(things) == 3
    assert len(kept) == 20


def test_one_can_be_replaced() -> None:
    """The key leads to the new one from then on, and takes no more room than before."""
    things = Keyed(Thing, 10)
    first = things.obtain("a")
    other = Thing()
    things.replace("a", other)
    assert things.obtain("a") is other
    assert other is not first
    assert len(things) == 1


@pytest.mark.parametrize("bound", [0, -1])
def test_a_bound_below_one_is_refused(bound: int) -> None:
    """Nothing could be kept at all."""
    with pytest.raises(ValueError, match=f"max_keys must be at least 1, got {bound}"):
        Keyed(Thing, bound)
