"""Whether this thread can run an event loop that is lent to it."""

import asyncio
import sys

import sniffio

from walltrack.sync import interrupts


def refused_here() -> bool:
    """Return whether this thread must not run it."""
    return _runs_an_event_loop() or _is_deep() or interrupts.are_expected()


def _runs_an_event_loop() -> bool:
    if sniffio.thread_local.name is not None:
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_deep() -> bool:
    """Return whether this thread has used half of its stack: asyncio ignores a RecursionError."""
    try:
        sys._getframe(sys.getrecursionlimit() // 2)  # noqa: SLF001 - the quickest way, by far
    except ValueError:
        return False
    return True
