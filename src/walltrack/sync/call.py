"""A task in the event loop, and the thread that waits for it.

Awaits: the task does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

import anyio

from walltrack.core.exceptions import TransportClosedError
from walltrack.sync.interfaces import Loop, Scope


class Outcome(NamedTuple):
    """The last that a thread gets from a call: what its task returned or raised."""

    value: Any = None
    error: BaseException | None = None


class Call:
    """A task in the event loop that a thread waits for.

    The task may post something before its end, and have an errand done by the thread. All passes
    through one queue, in order. A subclass defines `act`.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._mail: SimpleQueue[Any] = SimpleQueue()
        self._scope: Scope | None = None
        self._cancelled = False
        self._muted = False
        self._told: set[_Errand] = set()
        self.begun: bool = False
        """Whether the task was made."""
        self.over: bool = False
        """Whether the task has ended, or will never begin."""
        self.interrupted: bool = False
        """Whether the task has ended by an exception that ends programs, at whatever step."""
        self.notify: Callable[[], object] | None = None
        """Called after something was put into the queue, if the thread does not wait for that."""

    # In the event loop

    async def act(self) -> object:
        """Do what the thread waits for."""
        raise NotImplementedError

    async def serve(self, scope: Scope) -> None:
        """Run the task.

        Args:
            scope: Cancels it.
        """
        value, error = None, None
        self._scope = scope
        if self._cancelled:
            scope.cancel()
        try:
            with scope:
                value = await self.act()
            if scope.cancelled_caught and self.loop.closing:
                error = self.closed_error()
        except BaseException as raised:  # noqa: BLE001 - it is raised in the thread
            error = raised
            self.interrupted = not isinstance(raised, (Exception, asyncio.CancelledError))
        self.end(value, error)
        self.loop.forget(self)
        del error  # a frame in its own traceback would hold it

    def post(self, item: object) -> None:
        """Hand something to the thread before the end."""
        self._mail.put(item)
        if self.notify is not None:
            self.notify()

    async def errand(self, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - what `function` returns
        """Return what `function` returns in the thread, or raise what it raises."""
        return await self._result_of(_Errand(function, args))

    async def tell(self, function: Callable[..., Any], *args: object) -> None:
        """Call `function` in the thread, and wait for its end; skip it if the call is given up."""
        if self.over or self._muted:
            return
        errand = _Errand(function, args)
        self._told.add(errand)
        try:
            await self._result_of(errand)
        finally:
            self._told.discard(errand)

    async def _result_of(self, errand: "_Errand") -> Any:  # noqa: ANN401 - as above
        self.post(errand)
        await errand.done.wait()
        return errand.result()

    def end(self, value: object = None, error: BaseException | None = None) -> None:
        """Hand the outcome to the thread."""
        self.over = True
        self.post(Outcome(value, error))

    def closed_error(self) -> BaseException:
        """Return what the thread gets when the transport is closed meanwhile."""
        return TransportClosedError()

    def mute(self) -> None:
        """Tell the thread nothing more: it may not wait for the call any longer."""
        self._muted = True
        for errand in self._told:
            errand.done.set()

    def abandon(self) -> None:
        """Cancel the task, which the thread has given up."""
        self.mute()
        self.cancel_here()

    def cancel_here(self) -> None:
        """Cancel the task."""
        self._cancelled = True
        if not self.begun:  # the thread was interrupted while it started the call
            self.loop.forget(self)
            self.end()
        elif self._scope is not None:
            self._scope.cancel()

    # In the thread

    def result(self) -> Any:  # noqa: ANN401 - what the task posts or returns
        """Start the task, and return what it posts or returns first, or raise what it raises.

        If the wait is interrupted, as by KeyboardInterrupt, the task is cancelled.
        """
        self.loop.check()
        try:
            self.loop.start(self)
            item = self.take()
        except BaseException:
            self.give_up()
            raise
        if not isinstance(item, Outcome):
            return item
        try:
            return self.value_of(item)
        finally:
            del item  # as in `serve`

    def value_of(self, outcome: Outcome) -> Any:  # noqa: ANN401 - what the task returned
        """Return what the task has returned, or raise what it has raised."""
        value, error = outcome
        if error is None:
            return value
        try:
            raise error
        finally:
            del outcome, error  # as in `serve`

    def take(self) -> Any:  # noqa: ANN401 - what was posted
        """Return what was posted next, or the outcome; do the errands that come before it."""
        while True:
            item = self._mail.get()
            if not isinstance(item, _Errand):
                return item
            self._do(item)

    def _do(self, errand: "_Errand") -> None:
        try:
            errand.value = errand.function(*errand.args)
        except Exception as error:  # noqa: BLE001 - it is raised in the task
            errand.error = error
        except BaseException:
            self.loop.soon(self.mute)  # the task may wait in a shielded scope
            raise
        self.loop.soon(errand.done.set)

    def cancel(self) -> None:
        """Have the task cancelled, unless it has ended."""
        if not self.over:
            self.loop.soon(self.cancel_here)

    def drop(self) -> None:
        """Have the task cancelled, unless it has ended; nothing waits for that."""
        if not self.over:
            self.loop.soon(self.abandon)

    def give_up(self) -> None:
        """Have the task cancelled, and wait until it has ended; do no more errands."""
        self.drop()
        while not self.over:  # the outcome itself may have been lost by an interrupt
            self._mail.get()

    def finish(self) -> None:
        """Have the task cancelled, and wait until it has ended; do its errands until then."""
        self.cancel()
        while not self.over:  # another thread may have taken the outcome
            if isinstance(item := self._mail.get(), _Errand):
                self._do(item)


class Job(Call):
    """Call a coroutine function in the event loop.

    Args:
        loop: The event loop.
        function: The coroutine function.
        args: Its arguments.
    """

    def __init__(
        self, loop: Loop, function: Callable[..., Awaitable[object]], *args: object
    ) -> None:
        super().__init__(loop)
        self._function = function
        self._args = args

    async def act(self) -> object:
        """Call the function."""
        return await self._function(*self._args)


class _Errand:
    """Something for the thread to do. Made in the event loop."""

    __slots__ = ("args", "done", "error", "function", "value")

    def __init__(self, function: Callable[..., Any], args: tuple[object, ...]) -> None:
        self.function = function
        self.args = args
        self.done = anyio.Event()
        self.value: Any = None
        self.error: Exception | None = None

    def result(self) -> Any:  # noqa: ANN401 - what the function returned
        """Return what the function has returned, or raise what it has raised."""
        error, self.error = self.error, None
        if error is None:
            return self.value
        try:
            raise error
        finally:
            del error  # as in `serve`
