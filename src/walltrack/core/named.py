"""Defaults that show their names in a signature.

`inspect.signature` and `help` print the repr of a default. The repr of a function contains its
address in memory, that of a module contains its path, and that of a large constant fills the
screen.
"""

from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")

_OURS: Final = __name__.partition(".")[0]


class NamedFunction(partial[Any]):
    """A function whose repr is its name. Calling it adds no Python frame."""

    __slots__ = ()

    def __repr__(self) -> str:
        name: str = self.func.__name__
        package = self.func.__module__.partition(".")[0]
        return name if package == _OURS else f"{package}.{name}"

    def __eq__(self, other: object) -> bool:
        return bool(self.func == getattr(other, "func", other))

    def __hash__(self) -> int:
        return hash(self.func)


class NamedModule:
    """A module whose repr is its name."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        # Not `self._module`: `copy` first makes an object without it, and this would recurse.
        return getattr(object.__getattribute__(self, "_module"), name)

    def __repr__(self) -> str:
        return self._module.__name__


def shown_as(name: str, constant: _T) -> _T:
    """Return a tuple or a frozenset equal to `constant`, whose repr is `name`."""
    kind = type(constant)
    members: dict[str, Any] = {"__slots__": (), "__repr__": lambda _: name}
    shown: _T = type(kind.__name__, (kind,), members)(constant)
    return shown


def shows_defaults_by_name(function: _F) -> _F:
    """Make the signature of `function` show its default functions and modules by name."""
    plain: Any = function
    plain.__defaults__ = plain.__defaults__ and tuple(map(_named, plain.__defaults__))
    options = plain.__kwdefaults__ or {}
    plain.__kwdefaults__ = {name: _named(value) for name, value in options.items()}
    return function


def _named(value: object) -> object:
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return NamedFunction(value)
    return NamedModule(value) if isinstance(value, ModuleType) else value
