"""Signals while a thread runs an event loop.

Python runs signal handlers in the main thread, between any two steps. An exception that a handler
raises there, as KeyboardInterrupt is, can make an event loop lose a step, so that a call waits
without end.
"""

import selectors
import signal
import threading
from traceback import walk_tb
from typing import Final

_HANDLED: Final = tuple(
    getattr(signal, name).value
    for name in ("SIGALRM", "SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""The signals of time limits and of the end of a program, whose handlers may raise any exception.
asyncio ignores most exceptions, but not KeyboardInterrupt: so SIGINT is none of these."""

_WAITING: Final = selectors.DefaultSelector.select.__code__


def are_expected() -> bool:
    """Return whether a signal handler is likely to raise an exception in this thread."""
    if threading.get_ident() != threading.main_thread().ident:
        return False
    return any(callable(signal.getsignal(number)) for number in _HANDLED)


def came_while_waiting(error: BaseException) -> bool:
    """Return whether `error` was raised while the event loop waited, where it loses no step."""
    return any(frame.f_code is _WAITING for frame, _ in walk_tb(error.__traceback__))
