"""Have code that reads a clock read virtual time, wherever it got the clock from.

Replaces `time.monotonic`, `time.time` and `time.perf_counter` (and their `_ns` forms) in three
places: in the module `time`; in modules that imported one of them by name; and in the default
values of functions and methods, as in `def __init__(self, clock=time.monotonic)`, also where the
default is a `functools.partial` that does no more than call the clock. In modules that
imported the class `datetime` or its module, `now()` is replaced as well. What replaces them gives
virtual time to code that a virtual event loop runs, and real time to all other code: other threads,
and other event loops.

Not replaced is what objects kept that were made before.
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
"""Held while clocks are replaced: there is one module `time`, whichever thread asks."""


@contextmanager
def virtual_clocks(now: Now, epoch: float) -> Iterator[None]:
    """Replace the clocks until the block ends.

    Args:
        now: Returns the virtual time in seconds, or None where the real one is meant.
        epoch: What `time.time` is when that is 0, in seconds.
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
    """Replace the clocks in one module; yield what undoes each replacement."""
    # The standard library's own use of clocks is left alone: threads, queues and sockets need it.
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


def _functions_of(value: object) -> Iterator[FunctionType]:
    members = vars(value).values() if isinstance(value, type) else (value,)
    for member in list(members):
        function = getattr(member, "__func__", member)  # of a class method or a static one
        while function is not None:
            if isinstance(function, FunctionType):
                yield function
            function = getattr(function, "__wrapped__", None)


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
