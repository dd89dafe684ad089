"""Reject invalid arguments early, with a message that names the argument."""

import functools
import inspect
from collections.abc import Iterable
from types import UnionType

_LARGEST_EXACT_INTEGER = 2**53 - 1  # larger integers may differ from their float
_ASYNC = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)


def integer(name: str, value: int, *, minimum: int) -> None:
    """Reject anything but a whole number of at least `minimum`.

    Raises:
        TypeError: `value` is not an integer.
        ValueError: `value` is below `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")


def number(name: str, value: float, *, minimum: float = 0.0, finite: bool = True) -> None:
    """Reject anything but a number of at least `minimum`, and NaN.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is below `minimum` or NaN, or infinite although `finite` is set.
    """
    _reject_non_number(name, value)
    if not value >= minimum or (finite and value == float("inf")):
        kind = "a finite number" if finite else "a number"
        raise ValueError(f"{name} must be {kind} of at least {minimum:g}, got {value}")


def positive(name: str, value: float) -> None:
    """Reject anything but a finite number above zero.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is zero, negative, NaN or infinite.
    """
    _reject_non_number(name, value)
    if not 0.0 < value < float("inf"):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")


def share(name: str, value: float) -> None:
    """Reject anything but a number above zero and at most one.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is zero, negative, above one or NaN.
    """
    _reject_non_number(name, value)
    if not 0.0 < value <= 1.0:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")


def choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Reject anything but one of `allowed`.

    Raises:
        ValueError: `value` is not one of them.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")


def instance(name: str, value: object, kind: type | UnionType) -> None:
    """Reject anything but an instance of `kind`.

    Raises:
        TypeError: `value` is not an instance of `kind`.
    """
    if not isinstance(value, kind):
        wanted = kind.__name__ if isinstance(kind, type) else kind
        raise TypeError(f"{name} must be a {wanted}, got {value!r}")


def function(name: str, value: object) -> None:
    """Reject anything that cannot be called.

    Raises:
        TypeError: `value` is not callable.
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {value!r}")


def listener(name: str, value: object) -> None:
    """Reject anything but None or a function that is called without `await`.

    A coroutine function would never run, because listeners are called by code that does not await.
    A coroutine function in a `functools.partial`, and an object with an async `__call__`, are
    rejected as well.

    Raises:
        TypeError: `value` is not callable, or its calls would have to be awaited.
    """
    if value is None:
        return
    while isinstance(value, functools.partial):  # not shown in a message: it may hold secrets
        value = value.func
    if not callable(value):
        raise TypeError(f"{name} must be a function or None, got {value!r}")
    if any(is_async(call) for call in (value, type(value).__call__) for is_async in _ASYNC):
        shown = getattr(value, "__qualname__", type(value).__qualname__)
        raise TypeError(
            f"{name} must be a plain function, got {shown}, which is async and would not be "
            "awaited: let a plain function put the events into a queue (put_nowait), and read the "
            "queue in a task"
        )


def known(owner: str, given: Iterable[str], valid: Iterable[str]) -> None:
    """Reject options of `owner` that it does not have; list those that it has.

    Raises:
        TypeError: One of the names in `given` is not in `valid`.
    """
    if unknown := sorted({*given}.difference(valid)):
        raise TypeError(
            f"{owner} has no option {', '.join(unknown)}; it takes {', '.join(sorted({*valid}))}"
        )


def _reject_non_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if isinstance(value, int) and value > _LARGEST_EXACT_INTEGER:
        raise ValueError(f"{name} must be a number below 2**53")
