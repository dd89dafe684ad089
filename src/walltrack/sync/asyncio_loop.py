"""An asyncio event loop that its own thread and lone callers run in turn.

To cross from the calling thread to another one and back takes longer than all layers together. So
a caller that is alone runs the event loop itself until its call has an answer. As soon as there is
anything else to do, the loop's own thread runs it. This is the pattern Leader/Followers (Schmidt,
O'Ryan, Kircher, Pyarali: PLoP 2000), with one follower.

Awaits: its last task, which ends the others.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

import anyio
import sniffio

from walltrack.sync import interrupts, lending
from walltrack.sync.call import Call
from walltrack.sync.task_scope import TaskScope
from walltrack.sync.turn import Turn

_NAME: Final = "asyncio"

_IDLE_SECONDS: Final = 0.1
"""How long the event loop may stand still after a call, before its own thread runs it again."""

_UNWINDING_SECONDS: Final = 1.0
"""How long tasks may take to end when the event loop does."""

_NO_THREAD: Final = 0
"""Runs an event loop that has ended: its thread's identifier may become that of another thread."""

Steps = Coroutine[Any, Any, None]


class User(Protocol):
    """The user of an event loop."""

    @property
    def is_idle(self) -> bool:
        """Whether no call is in flight."""
        ...

    def abandon(self) -> None:
        """End the event loop, which may have lost a step of a call."""
        ...


class AsyncioLoop:
    """Run an asyncio event loop in its own thread, or in that of a lone caller.

    Args:
        user: The user of the event loop.
    """

    def __init__(self, user: User) -> None:
        self._user = user
        self._turns_elsewhere = 0
        self._rests = False
        self._posts: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._wakes: SimpleQueue[None] = SimpleQueue()

    @property
    def thread(self) -> int | None:
        """The identifier of the thread that runs the event loop."""
        return self._turn.thread

    # In its own thread

    def run(self, main: Callable[[], Steps]) -> None:
        """Run a task, and all others until it has ended."""
        self._own_thread = threading.get_ident()
        self._turn = Turn(self._own_thread)
        # A call runs in a copy of the caller's context, which may name another library.
        sniffio.thread_local.name = _NAME
        loop = self._loop = asyncio.new_event_loop()
        # Other event loops, such as that of uvloop, do not promise to run in several threads.
        self._stays = not isinstance(loop, asyncio.SelectorEventLoop)
        # From Python 3.12 on, a task begins at once, and not in the loop's next step.
        self._make_task: Callable[[asyncio.AbstractEventLoop, Steps], asyncio.Task[None]] = getattr(
            asyncio, "eager_task_factory", _task_of
        )
        loop.set_task_factory(self._noted)
        try:
            self._run_until_done(asyncio.Task(main(), loop=loop))
        finally:
            self._stays, self._rests = True, False
            try:
                self._run_until_done(asyncio.Task(self._end_tasks(), loop=loop))
            finally:
                loop.close()
                self._turn = Turn(_NO_THREAD)

    def _run_until_done(self, last: "asyncio.Task[None]") -> None:
        last.add_done_callback(self._stop)
        try:
            while not last.done():  # another thread may have stopped the event loop
                if self._rests and not self._has_work:
                    self._turn.leave()
                    self._until_needed()
                    self._rests = False
                else:
                    self._loop.run_forever()
        finally:
            last.remove_done_callback(self._stop)
        last.result()

    def _until_needed(self) -> None:
        """Wait until this thread has the turn again."""
        while True:
            if self._has_work and self._turn.take(self._own_thread):
                return
            before = self._turns_elsewhere
            try:
                self._wakes.get(timeout=_IDLE_SECONDS)
            except Empty:
                if self._turns_elsewhere == before and self._turn.take(self._own_thread):
                    return

    async def _end_tasks(self) -> None:
        loop = self._loop
        others = asyncio.all_tasks(loop) - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_UNWINDING_SECONDS)
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    # In other threads

    def soon(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the event loop, which its own thread runs from then on.

        Raises:
            RuntimeError: The event loop has ended.
        """
        self._posts.append((function, args))
        self._loop.call_soon_threadsafe(self._perform_posts)
        thread = self._turn.thread
        if thread is None:
            self._wakes.put(None)
        elif thread != self._own_thread:
            self._loop.call_soon_threadsafe(self._loop.stop)

    def serve_here(self, begin: Callable[[Call], None], call: Call) -> bool:
        """Run the event loop until `call` has something for this thread, if it stands still.

        Returns:
            Whether `call` was begun. If it has nothing for this thread then, its task continues
            in the loop's own thread.
        """
        if self._turn.thread is not None or self._has_work:
            return False
        if lending.refused_here():
            return False
        here = threading.get_ident()
        try:
            taken = self._turn.take(here)
            if taken:
                self._run_until_answered(begin, call)
        except BaseException as error:
            call.interrupted = not interrupts.came_while_waiting(error)
            raise
        finally:
            try:
                self._leave(call)
            except BaseException:  # one more interrupt, which must not keep the turn here
                self._leave(call)
                raise
        return taken

    def _run_until_answered(self, begin: Callable[[Call], None], call: Call) -> None:
        sniffio.thread_local.name = _NAME
        call.notify = self._loop.stop
        begin(call)
        self._loop.run_forever()

    def _leave(self, call: Call) -> None:
        if self._turn.thread != threading.get_ident():
            return
        if call.interrupted:
            asyncio._set_running_loop(None)  # noqa: SLF001 - asyncio exports it; it may have been kept from this
            self._user.abandon()
        call.notify = None
        sniffio.thread_local.name = None
        self._turns_elsewhere += 1
        self._turn.leave()
        if self._has_work:
            self._wakes.put(None)

    @property
    def _has_work(self) -> bool:
        return bool(self._tasks or self._posts) or not self._user.is_idle

    # In the thread that runs the event loop

    def spawn(self, call: Call) -> None:
        """Make a task that serves `call`."""
        if call.notify is None:
            self._make_task(self._loop, call.serve(anyio.CancelScope()))
        else:
            scope = TaskScope()
            scope.bind(self._make_task(self._loop, call.serve(scope)))

    def rest(self) -> None:
        """Note that no call is in flight."""
        if not self._stays:
            self._rests = True
            self._loop.stop()

    def _stop(self, _: object) -> None:
        self._loop.stop()

    def _perform_posts(self) -> None:
        while self._posts:  # also one whose `soon` was interrupted
            function, args = self._posts.popleft()
            function(*args)

    def _noted(
        self,
        loop: asyncio.AbstractEventLoop,
        steps: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        /,
        **options: Any,  # noqa: ANN401 - as asyncio has them
    ) -> asyncio.Task[Any]:
        """Make a task, which some thread has to run."""
        task = asyncio.Task(steps, loop=loop, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _task_of(loop: asyncio.AbstractEventLoop, steps: Steps) -> asyncio.Task[None]:
    return asyncio.Task(steps, loop=loop)
