import copy
import functools
import inspect
import math
import random
import time

import anyio
import pytest

from walltrack.core.named import NamedFunction, shown_as, shows_defaults_by_name
from walltrack.core.naming import origin_of


@shows_defaults_by_name
def configure(
    first: object = origin_of,
    second: object = 5,
    *,
    clock: object = time.monotonic,
    timer: object = anyio.move_on_after,
    rng: random.Random = random,  # type: ignore[assignment]  # as the layers have it
    limit: object = None,
) -> tuple[object, ...]:
    """Return the options."""
    return first, second, clock, timer, rng, limit


def test_a_signature_shows_functions_and_modules_by_name() -> None:
    """Our functions by the bare name, others with their package; other values as they are."""
    shown = inspect.signature(configure).replace(return_annotation=inspect.Signature.empty)
    parameters = [str(parameter).partition(" = ")[2] for parameter in shown.parameters.values()]
    assert parameters == [
        "origin_of",
        "5",
        "time.monotonic",
        "anyio.move_on_after",
        "random",
        "None",
    ]


def test_a_function_without_defaults_stays_as_it_is() -> None:
    """It has no default to show."""

    @shows_defaults_by_name
    def plain(value: int) -> int:
        return value

    assert plain(3) == 3
    assert str(inspect.signature(plain)) == "(value: int) -> int"


def test_a_named_function_is_called_like_its_own() -> None:
    """It takes the same arguments and returns the same result."""
    assert NamedFunction(math.hypot)(3, 4) == 5.0


def test_a_named_function_is_equal_to_its_own() -> None:
    """Code that compares an option with the default still recognises it."""
    named = NamedFunction(origin_of)
    assert named == origin_of
    assert origin_of == named
    assert named == NamedFunction(origin_of)
    assert hash(named) == hash(origin_of)
    assert named != time.time
    assert named != "origin_of"


def test_a_named_function_can_be_copied() -> None:
    """An object that holds one can be copied with it."""
    named = NamedFunction(origin_of)
    assert repr(copy.deepcopy(named)) == repr(copy.copy(named)) == "origin_of"


def test_a_named_function_is_still_known_to_be_async() -> None:
    """`iscoroutinefunction` gives the same answer as for the function itself."""
    assert inspect.iscoroutinefunction(NamedFunction(anyio.sleep))


def test_a_named_module_has_what_the_module_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """This includes what is added to it later, such as the state of its random numbers."""
    *_, rng, _ = configure()
    monkeypatch.setattr(random, "uniform", lambda a, _b: a)
    assert isinstance(rng, object)
    assert rng.uniform(2.0, 3.0) == 2.0  # type: ignore[attr-defined]
    assert copy.copy(rng).uniform(2.0, 3.0) == 2.0  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rng.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("constant", [(1, 2), frozenset({1, 2})])
def test_a_constant_is_shown_by_its_name(constant: tuple[int, ...] | frozenset[int]) -> None:
    """It is otherwise equal to the value, and of its type."""
    named = shown_as("ONE_AND_TWO", constant)
    assert repr(named) == "ONE_AND_TWO"
    assert named == constant
    assert isinstance(named, type(constant))
    assert functools.reduce(int.__add__, named) == 3
    assert copy.copy(named) == constant
