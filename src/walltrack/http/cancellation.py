"""Distinguish a cancellation that a layer caused from one by its caller.

Awaits: a cancellation is delivered here.

Some transports raise their own CancelledError when the scope around them is cancelled. anyio
recognises only the exceptions that it raised itself, and would let this one cancel the caller.
"""

import asyncio

import anyio
import anyio.lowlevel


class OwnCancellation:
    """The cancellation of a scope that a layer of this library opened, in the current task.

        own = OwnCancellation()
        with anyio.move_on_after(1) as scope:
            try:
                await something()
            except BaseException as error:
                if not own.explains(error, scope):
                    raise
        await own.check()

    On trio, only trio itself can raise a cancellation, so nothing is needed there.
    """

    __slots__ = ("_before", "_swallowed", "_task")

    def __init__(self) -> None:
        try:
            self._task = asyncio.current_task()
        except RuntimeError:  # not on asyncio
            self._task = None
        self._before = 0 if self._task is None else self._task.cancelling()
        self._swallowed = False

    def explains(self, error: BaseException, scope: anyio.CancelScope) -> bool:
        """Return whether `error` is a cancellation that `scope` may have caused."""
        if self._task is None or not isinstance(error, asyncio.CancelledError):
            return False
        self._swallowed = scope.cancel_called
        return self._swallowed

    async def check(self, *, ended: bool = True) -> None:
        """Raise if the caller cancelled the task as well; call this outside of the scope.

        Args:
            ended: Whether what ran in the scope came to an end. If it did not, anyio took the
                caller's cancellation for one of its own: asyncio makes one exception of both if
                they are requested in the same step of the event loop.
        """
        if self._swallowed:
            await self.obey_caller()
        if not ended:
            raise asyncio.CancelledError

    async def obey_caller(self) -> None:
        """Raise if the caller cancelled the task meanwhile; call this outside of the scope."""
        if self._task is not None and self._task.cancelling() > self._before:
            await anyio.lowlevel.checkpoint()  # raises if it is a scope of the caller
            raise asyncio.CancelledError
