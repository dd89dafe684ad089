"""A task that is started in one task and stopped in another."""

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module

import anyio
import anyio.lowlevel


class BackgroundTask:
    """Run `function` in a task that belongs to no task group.

    A task group must be left by the task that entered it. Some pytest plugins run the two halves of
    a fixture in different tasks, so they cannot use a task group; they can start and stop this.

    Args:
        function: What the task runs. An exception that it raises ends the task, and is kept.
        on_failure: Called when `function` raises an exception.
        name: Name of the task.
    """

    failure: Exception | None
    """What `function` raised, if it did."""

    def __init__(
        self,
        function: Callable[[], Awaitable[None]],
        on_failure: Callable[[], object],
        name: str,
    ) -> None:
        self.failure = None
        self._function = function
        self._on_failure = on_failure
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._loop = _running_loop()
        if isinstance(self._loop, asyncio.AbstractEventLoop):
            # Keep a reference, since asyncio itself keeps only a weak one.
            self._task = self._loop.create_task(self._run(), name=name)
        else:
            # Not imported at the top: trio may not be installed, and is needed only here.
            import_module("trio.lowlevel").spawn_system_task(self._run, name=name)

    def is_in_this_loop(self) -> bool:
        """Return whether the task runs in the event loop of the caller."""
        return _running_loop() is self._loop

    async def stop(self) -> None:
        """Cancel the task and wait for its end."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._ended.wait()

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._function()
        except Exception as error:  # noqa: BLE001 - trio ends the program if a system task raises
            self.failure = error
            self._on_failure()
        finally:
            self._ended.set()


def _running_loop() -> object:
    return anyio.lowlevel.current_token().native_token
