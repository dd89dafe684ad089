"""A trio event loop in its own thread.

Awaits: the tasks of calls.
"""

import contextvars
import threading
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

import anyio

from walltrack.sync.call import Call


class TrioLoop:
    """Run a trio event loop, always in the same thread: trio cannot be moved to another one."""

    def __init__(self) -> None:
        self.thread: int | None = None

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task, and all others until it has ended.

        Raises:
            LookupError: trio is not installed.
        """

        async def begin() -> None:
            self._trio = import_module("trio").lowlevel
            self._token = self._trio.current_trio_token()
            await main()

        self.thread = threading.get_ident()
        anyio.run(begin, backend="trio")

    def soon(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the event loop.

        Raises:
            RuntimeError: The event loop has ended.
        """
        self._token.run_sync_soon(function, *args)

    def serve_here(self, begin: Callable[[Call], None], call: Call) -> bool:
        """Return False: no other thread can run the event loop."""
        del begin, call
        return False

    def spawn(self, call: Call) -> None:
        """Make a task that serves `call`."""
        self._trio.spawn_system_task(
            call.serve, anyio.CancelScope(), context=contextvars.copy_context()
        )

    def rest(self) -> None:
        """Do nothing: the event loop waits for calls."""
