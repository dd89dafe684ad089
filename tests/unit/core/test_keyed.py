from dataclasses import dataclass

import pytest

from walltrack.core.keyed import Keyed


@dataclass(eq=False)
class Thing:
    """An object that is in use or not."""

    idle: bool = True


def test_one_is_made_for_each_key() -> None:
    """The same key gives the same object, another key another one."""
    things = Keyed(Thing, 10)
    assert things.obtain("a") is things.obtain("a")
    assert things.obtain("a") is not things.obtain("b")
    assert len(things) == 2


def test_the_oldest_idle_one_is_forgotten() -> None:
    """The bound holds, and objects in use stay."""
    things = Keyed(Thing, 2)
    used = things.obtain("used")
    used.idle = False
    idle = things.obtain("idle")

    things.obtain("new")

    assert len(things) == 2
    assert things.obtain("used") is used
    assert things.obtain("idle") is not idle


def test_what_is_in_use_exceeds_the_bound() -> None:
    """No object in use is lost, and the bound holds again once they are idle."""
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
    """The key gives the new one from then on, and it takes no more room."""
    things = Keyed(Thing, 10)
    first = things.obtain("a")
    other = Thing()
    things.replace("a", other)
    assert things.obtain("a") is other
    assert other is not first
    assert len(things) == 1


@pytest.mark.parametrize("bound", [0, -1])
def test_a_bound_below_one_is_refused(bound: int) -> None:
    """Nothing could be kept with it."""
    with pytest.raises(ValueError, match=f"max_keys must be at least 1, got {bound}"):
        Keyed(Thing, bound)


class Inspected:
    """An object that counts how often it is asked whether it is idle."""

    inspections = 0

    def __init__(self) -> None:
        self.used = True

    @property
    def idle(self) -> bool:
        """Whether it is idle; each use is counted for the class."""
        type(self).inspections += 1
        return not self.used


@pytest.fixture
def inspected() -> type[Inspected]:
    """A class, none of whose instances was inspected yet."""
    return type("Inspected", (Inspected,), {})


@pytest.mark.parametrize("kept", [1_000, 4_000])
def test_an_insertion_inspects_a_few_however_many_are_kept(
    inspected: type[Inspected], kept: int
) -> None:
    """Its work is constant: at most eight, and none below the bound or for a known key."""
    things = Keyed(inspected, 500)
    for key in range(kept):
        before = inspected.inspections
        things.obtain(key)
        assert inspected.inspections - before == (8 if key >= 500 else 0)
        things.obtain(key)
        things.obtain(0)
        assert inspected.inspections - before == (8 if key >= 500 else 0)


def test_an_insertion_inspects_no_more_than_it_needs(inspected: type[Inspected]) -> None:
    """It stops once enough are idle, and the next insertion continues after them."""
    things = Keyed(inspected, 30)
    kept = [things.obtain(key) for key in range(30)]
    kept[10].used = kept[11].used = False

    counts = []
    for key in range(100, 104):
        before = inspected.inspections
        things.obtain(key)
        counts.append(inspected.inspections - before)

    # 0 to 7, all in use; 8, 9, then 10 and 11, which go, as two are too many by now; 12 to 19; ...
    assert counts == [8, 4, 8, 8]
    assert len(things) == 32
