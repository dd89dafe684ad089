"""Replace the clocks that code reads by virtual time, wherever the code got them from.

`time.monotonic`, `time.time` and `time.perf_counter` (and their `_ns` forms) are replaced in three
places: in the module `time`; in modules that imported one of them by name; and in the default
values of functions and methods, as in `def __init__(self, clock=time.monotonic)`, also if the
default is a `functools.partial` that only calls the clock. In modules that imported the class
`datetime` or its module, `now()` is replaced as well. The replacements return virtual time to code
in a virtual event loop, and real time to all other code: other threads, and other event loops.

Clocks that existing objects hold are not replaced.
"""

import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FunctionType, ModuleType
from typing import Any, Final

from walltrack.simulation import virtual_datetime

Now = Callable[[], float | None]

_CLOCKS: Final[dict[str, Callable[[], Any]]] = {
    name: getattr(time, name)
    for name in ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns")
}
_EXCLUSIVE: Final = threading.RLock()
"""Held while clocks are replaced, since all threads share the module `time`."""


@contextmanager
def virtual_clocks(now: Now, epoch: float) -> Iterator[None]:
    """Replace the clocks until the block ends.

    Args:
        now: Returns the virtual time in seconds; None: the real time applies.
        epoch: The value of `time.time` when the virtual time is 0, in seconds.
    """
    substitutes: dict[int, object] = {
        id(real): _virtual(real, now, epoch if name.startswith("time") else 0.0, name)
        for name, real in _CLOCKS.items()
    }
    substitutes |= virtual_datetime.SUBSTITUTES
    with _EXCLUSIVE, ExitStack() as stack:
        for module in list(sys.modules.values()):
            for undo in _replace_in(module, substitutes):
                stack.callback(undo)
        yield


def _virtual(real: Callable[[], Any], now: Now, epoch: float, name: str) -> Callable[[], Any]:
    @functools.wraps(real)
    def clock() -> float:
        virtual = now()
        return real() if virtual is None else virtual + epoch

    @functools.wraps(real)
    def clock_ns() -> int:
        virtual = now()
        return real() if virtual is None else round((virtual + epoch) * 1e9)

    return clock_ns if name.endswith("_ns") else clock


def _replace_in(
    module: ModuleType, substitutes: Mapping[int, object]
) -> Iterator[Callable[[], object]]:
    """Replace the clocks in one module; yield functions that undo this."""
    # Not in the standard library: threads, queues and sockets need real time.
    name = getattr(module, "__name__", "")
    standard = name.partition(".")[0] in sys.stdlib_module_names
    if (standard and module is not time) or module is virtual_datetime:
        return
    for key, value in list(getattr(module, "__dict__", {}).items()):
        if id(value) in substitutes:
            setattr(module, key, substitutes[id(value)])
            yield functools.partial(setattr, module, key, value)
        elif getattr(value, "__module__", None) == name:
            for function in _functions_of(value):
                yield from _replace_defaults(function, substitutes)


_METHODS: Final = (classmethod, staticmethod)
_WRAPPERS: Final = (FunctionType, type(functools.cache(len)))


def _functions_of(value: object) -> Iterator[FunctionType]:
    members = vars(value).values() if isinstance(value, type) else (value,)
    for member in list(members):
        function = member.__func__ if type(member) in _METHODS else member
        # By their types alone: a lazy object, as in openai, answers to any name with itself.
        while type(function) in _WRAPPERS:
            if type(function) is FunctionType:
                yield function
            function = vars(function).get("__wrapped__")


def _replace_defaults(
    function: FunctionType, substitutes: Mapping[int, object]
) -> Iterator[Callable[[], object]]:
    def replaced(value: object) -> object:
        is_bare = isinstance(value, functools.partial) and not (value.args or value.keywords)
        called = value.func if is_bare else value  # type: ignore[attr-defined]  # a partial's
        return substitutes.get(id(called), value)

    positional, by_name = function.__defaults__, function.__kwdefaults__
    if positional and any(replaced(value) is not value for value in positional):
        function.__defaults__ = tuple(map(replaced, positional))
        yield functools.partial(setattr, function, "__defaults__", positional)
    if by_name and any(replaced(value) is not value for value in by_name.values()):
        function.__kwdefaults__ = {name: replaced(value) for name, value in by_name.items()}
        yield functools.partial(setattr, function, "__kwdefaults__", by_name)
