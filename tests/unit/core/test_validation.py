from collections.abc import AsyncIterator
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from walltrack.core import validation

INF = float("inf")
NAN = float("nan")


@pytest.mark.parametrize("value", [1, 2, 10**30])
def test_integer_accepts_whole_numbers_from_the_minimum(value: int) -> None:
    """The minimum itself is accepted, and there is no maximum."""
    validation.integer("tries", value, minimum=1)


@pytest.mark.parametrize("value", [0, -1])
def test_integer_refuses_what_is_below_the_minimum(value: int) -> None:
    """The message has the name, the minimum and the value."""
    with pytest.raises(ValueError, match=rf"^tries must be at least 1, got {value}$"):
        validation.integer("tries", value, minimum=1)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, NAN])
def test_integer_refuses_other_types(value: Any) -> None:  # noqa: ANN401 - that is the point
    """Other types, a bool included, are refused by name."""
    with pytest.raises(TypeError, match=rf"^tries must be a whole number, got {value!r}$"):
        validation.integer("tries", value, minimum=0)


@pytest.mark.parametrize("value", [0.5, 1, 1e300])
def test_number_accepts_numbers_from_the_minimum(value: float) -> None:
    """Whole numbers and fractions are accepted, the minimum included."""
    validation.number("delay", value, minimum=0.5)


def test_number_accepts_zero_by_default() -> None:
    """Without a minimum, any number that is not negative is accepted."""
    validation.number("delay", 0.0)


def test_number_accepts_infinity_only_where_it_need_not_be_finite() -> None:
    """`finite=False` lets infinity through."""
    validation.number("delay", INF, finite=False)


@pytest.mark.parametrize("value", [0.25, -1, NAN, INF, -INF])
def test_number_refuses_what_is_out_of_bounds(value: float) -> None:
    """Too small, NaN and infinite values are refused, with the minimum and the value."""
    message = rf"^delay must be a finite number of at least 0\.5, got {value}$"
    with pytest.raises(ValueError, match=message):
        validation.number("delay", value, minimum=0.5)


@pytest.mark.parametrize("value", [-0.1, NAN, -INF])
def test_number_refuses_nan_and_too_small_also_where_it_need_not_be_finite(value: float) -> None:
    """`finite=False` only removes the upper bound."""
    with pytest.raises(ValueError, match=rf"^delay must be a number of at least 0, got {value}$"):
        validation.number("delay", value, finite=False)


@pytest.mark.parametrize("value", [1e-9, 1, 1e300])
def test_positive_accepts_finite_numbers_above_zero(value: float) -> None:
    """Any number above zero is accepted, however small."""
    validation.positive("cooldown", value)


@pytest.mark.parametrize("value", [0, 0.0, -1, NAN, INF, -INF])
def test_positive_refuses_what_is_out_of_bounds(value: float) -> None:
    """Zero, negative, NaN and infinite values are refused, with the value."""
    message = rf"^cooldown must be a finite number above 0, got {value}$"
    with pytest.raises(ValueError, match=message):
        validation.positive("cooldown", value)


@pytest.mark.parametrize("check", [validation.number, validation.positive])
@pytest.mark.parametrize("value", [True, "1", None, 1j, Decimal(1)])
def test_numbers_of_other_types_are_refused(check: Any, value: Any) -> None:  # noqa: ANN401 - that is the point
    """Anything but an int or a float is refused by name, a bool included."""
    with pytest.raises(TypeError, match=r"^delay must be a number, got "):
        check("delay", value)


def test_choice_accepts_what_is_allowed() -> None:
    """Every allowed value is accepted."""
    validation.choice("jitter", "full", ("none", "full"))


@pytest.mark.parametrize("value", ["Full", "", None, 1, []])
def test_choice_refuses_anything_else_and_lists_what_is_allowed(value: object) -> None:
    """The message has the parameter, the allowed values and the given value."""
    with pytest.raises(ValueError, match=r"^jitter must be one of 'none', 'full'; got ") as caught:
        validation.choice("jitter", value, ("none", "full"))
    assert str(caught.value).endswith(repr(value))


@pytest.mark.parametrize("value", [2**53, 10**400])
def test_a_whole_number_that_no_float_can_hold_is_refused(value: int) -> None:
    """Seconds that arithmetic cannot handle are refused when they are given."""
    with pytest.raises(ValueError, match=r"^size must be a number below 2\*\*53$"):
        validation.number("size", value)


@pytest.mark.parametrize(
    ("kind", "wanted"), [(int, "a int"), (int | None, r"a int \| None")], ids=["class", "union"]
)
def test_another_type_is_refused(kind: type, wanted: str) -> None:
    """The message has the parameter, the expected type, and the given value."""
    validation.instance("size", 1, kind)
    with pytest.raises(TypeError, match=rf"^size must be {wanted}, got 'x'$"):
        validation.instance("size", "x", kind)


def test_what_cannot_be_called_is_refused() -> None:
    """The argument has to be callable."""
    validation.function("key", len)
    with pytest.raises(TypeError, match=r"^key must be a function, got 'host'$"):
        validation.function("key", "host")


@pytest.mark.parametrize("value", [1, 1.0, 0.5, 5e-324])
def test_share_accepts_what_is_above_zero_and_not_above_one(value: float) -> None:
    """A share of 1 is accepted, too."""
    validation.share("rate", value)


@pytest.mark.parametrize("value", [0, 0.0, -0.1, 1.0000001, INF, NAN])
def test_share_refuses_numbers_that_are_none(value: float) -> None:
    """Zero, more than 1, and NaN are refused by name."""
    with pytest.raises(ValueError, match=r"^rate must be above 0 and at most 1, got "):
        validation.share("rate", value)


@pytest.mark.parametrize("value", [True, "0.5", None, Decimal("0.5")])
def test_share_refuses_other_types(value: Any) -> None:  # noqa: ANN401 - that is the point
    """Other types, a bool included, are refused by name."""
    with pytest.raises(TypeError, match=r"^rate must be a number, got "):
        validation.share("rate", value)


class Listening:
    """Has methods that take events in every way possible."""

    def __call__(self, event: object) -> None:
        del event

    def plain(self, event: object) -> None:
        """Take an event at once."""

    async def later(self, event: object) -> None:
        """Take an event when awaited."""


class ListeningLater:
    """Takes events when awaited."""

    async def __call__(self, event: object) -> None:
        del event


async def later(event: object, suffix: str = "") -> None:
    """Take an event when awaited."""


async def in_steps(event: object) -> AsyncIterator[object]:
    """Take an event when iterated over."""
    yield event


@pytest.mark.parametrize(
    "value",
    [
        None,
        print,
        [].append,
        Listening,
        ListeningLater,
        Listening(),
        Listening().plain,
        lambda event: event,
        partial(print, "event"),
        partial(partial(Listening.plain), Listening()),
    ],
)
def test_listener_accepts_functions_and_none(value: object) -> None:
    """Any callable is accepted; a class is called to make an instance."""
    validation.listener("listener", value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (later, "later"),
        (in_steps, "in_steps"),
        (Listening().later, "Listening.later"),
        (ListeningLater(), "ListeningLater"),
        (partial(later, suffix="hunter2"), "later"),
        (partial(partial(Listening.later), Listening()), "Listening.later"),
        (partial(ListeningLater(), "hunter2"), "ListeningLater"),
    ],
)
def test_listener_refuses_what_would_have_to_be_awaited(value: object, shown: str) -> None:
    """The message says what to do instead, and shows no argument of a partial."""
    with pytest.raises(
        TypeError, match=rf"^on_event must be a plain function, got {shown}, which "
    ):
        validation.listener("on_event", value)
    with pytest.raises(TypeError, match=r"into a queue \(put_nowait\)") as caught:
        validation.listener("on_event", value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", ["print", 1, False, [print]])
def test_listener_refuses_what_cannot_be_called(value: object) -> None:
    """By name, with the given value."""
    with pytest.raises(TypeError, match=r"^listener must be a function or None, got ") as caught:
        validation.listener("listener", value)
    assert str(caught.value).endswith(repr(value))


def test_unknown_names_are_listed_beside_the_known_ones() -> None:
    """All of them, sorted; known names are no error."""
    validation.known("f()", ["a"], ["b", "a"])
    with pytest.raises(TypeError, match=r"^f\(\) has no option c, d; it takes a, b$"):
        validation.known("f()", ["d", "a", "c"], ["b", "a"])
