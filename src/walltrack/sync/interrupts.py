"""Signals while the main thread runs an event loop.

Python runs signal handlers in the main thread, between any two steps. An exception that a handler
raises there, as KeyboardInterrupt is, could make an event loop lose a step, and a call wait without
end.
"""

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import Any, Final

_INTERRUPT: Final = signal.SIGINT.value
_IS_OURS_TO_SET: Final = signal.getsignal(_INTERRUPT) is not None
"""False if another language has set the handler, so that Python could not restore it."""

_END_FUNCTIONS: Final = tuple(
    getattr(signal, name).value
    for name in ("SIGALRM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""The signals whose handlers end a function by raising, as those of time limits do."""

ALWAYS: Final = nullcontext(True)


def without_interrupts(notify: Callable[[], object]) -> AbstractContextManager[bool]:
    """Return a context that postpones a KeyboardInterrupt to its end, unless it is the second one.

    Entering it returns whether no signal handler can be expected to raise another exception.

    Args:
        notify: Called at the first interrupt, to end what is done in the context.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return ALWAYS
    return _Postponing(notify)


class _Postponing(AbstractContextManager[bool]):
    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify = notify
        self._interrupted = False

    def __enter__(self) -> bool:
        self._replaced: Any = None
        if not _IS_OURS_TO_SET or any(map(_is_handled, _END_FUNCTIONS)):
            return False
        self._handler = self._on_interrupt  # one object, to recognise it
        self._replaced = signal.signal(_INTERRUPT, self._handler)
        return self._replaced is signal.default_int_handler

    def __exit__(self, *_: object) -> None:
        if self._replaced is None:
            return
        present = signal.signal(_INTERRUPT, self._replaced)
        if present is not self._handler:  # it was replaced meanwhile
            signal.signal(_INTERRUPT, present)
        if self._interrupted:
            raise KeyboardInterrupt

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            signal.default_int_handler(number, frame)
        self._interrupted = True
        self._notify()


def _is_handled(number: int) -> bool:
    return callable(signal.getsignal(number))
