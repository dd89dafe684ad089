import copy
import inspect
import random
import time

from walltrack.core.named import NamedFunction, shown_as, shows_defaults_by_name


def ours() -> float:
    """A function of this test's own."""
    return 1.0


@shows_defaults_by_name
def example(
    clock: object = time.monotonic, *, rng: object = random, own: object = ours, size: int = 3
) -> tuple[object, ...]:
    """Return what it was given."""
    return clock, rng, own, size


def test_a_signature_shows_functions_and_modules_by_name() -> None:
    """No address in memory, and no path."""
    shown = str(inspect.signature(example))
    assert "clock: object = time.monotonic" in shown
    assert "rng: object = random," in shown
    assert "0x" not in shown
    assert "size: int = 3" in shown


def test_what_is_shown_by_name_works_as_before() -> None:
    """A function is called, a module has its functions, and each equals what it stands for."""
    clock, rng, own, _ = example()
    assert callable(clock)
    assert clock == time.monotonic
    assert hash(clock) == hash(time.monotonic)
    assert callable(own)
    assert own() == 1.0
    assert rng.uniform(1.0, 1.0) == 1.0  # type: ignore[attr-defined]


def test_a_function_of_this_library_is_shown_by_its_bare_name() -> None:
    """As it is imported from it."""
    assert repr(NamedFunction(shown_as)) == "shown_as"
    assert repr(NamedFunction(time.time)) == "time.time"


def test_a_module_that_is_shown_by_name_can_be_copied() -> None:
    """As the default of an object that is."""
    _, rng, *_ = example()
    assert repr(copy.copy(rng)) == "random"


def test_a_large_constant_is_shown_by_its_name() -> None:
    """And equals the plain one."""
    shown = shown_as("MANY", frozenset(range(100)))
    assert repr(shown) == "MANY"
    assert shown == frozenset(range(100))


def test_a_function_without_defaults_is_left_as_it_is() -> None:
    """There is nothing to show."""
    assert shows_defaults_by_name(ours) is ours
