"""Refuse bad input where it is given, with a message that names it."""


def integer(name: str, value: int, *, minimum: int) -> None:
    """Refuse anything but a whole number of at least `minimum`.

    Raises:
        TypeError: `value` is not an integer.
        ValueError: `value` is below `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be a whole number, got {value!r}"
        raise TypeError(msg)
    if value < minimum:
        msg = f"{name} must be at least {minimum}, got {value}"
        raise ValueError(msg)


def number(name: str, value: float, *, minimum: float = 0.0, finite: bool = True) -> None:
    """Refuse anything but a number of at least `minimum`; NaN never passes.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is below `minimum`, NaN, or infinite where `finite` is asked for.
    """
    _refuse_non_number(name, value)
    if not value >= minimum or (finite and value == float("inf")):
        kind = "a finite number" if finite else "a number"
        msg = f"{name} must be {kind} of at least {minimum:g}, got {value}"
        raise ValueError(msg)


def positive(name: str, value: float) -> None:
    """Refuse anything but a finite number above zero.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is zero, negative, NaN or infinite.
    """
    _refuse_non_number(name, value)
    if not 0.0 < value < float("inf"):
        msg = f"{name} must be a finite number above 0, got {value}"
        raise ValueError(msg)


def choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse anything but one of `allowed`.

    Raises:
        ValueError: `value` is none of them.
    """
    if value not in allowed:
        msg = f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}"
        raise ValueError(msg)


def _refuse_non_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} must be a number, got {value!r}"
        raise TypeError(msg)
