"""An asyncio event loop that its own thread and lone callers run in turn.

To cross from the calling thread to another one and back takes longer than all layers together. So
a caller that is alone runs the event loop itself until its call has an answer. As soon as there is
anything else to do, the loop's own thread runs it: Leader/Followers with one follower (Schmidt et
al., PLoP 2000).

Awaits: its last task, which ends the others.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, Protocol, Self

import sniffio

from walltrack.sync.call import Call
from walltrack.sync.interrupts import without_interrupts

_NAME: Final = "asyncio"

_IDLE_SECONDS: Final = 0.1
"""How long the event loop may stand still after a call, before its own thread runs it again."""

_UNWINDING_SECONDS: Final = 1.0
"""How long tasks may take to end when the event loop does."""

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
    """Run an asyncio event loop, here or in the thread of a lone caller.

    Whoever holds `_turn` runs the event loop. If no one does, it stands still.

    Args:
        user: The user of the event loop.
    """

    def __init__(self, user: User) -> None:
        self._user = user
        self._turn = threading.Lock()
        self._turn.acquire()
        self._handed_over = threading.Lock()  # released by whoever passes the turn to `run`
        self._handed_over.acquire()
        self.thread: int | None = None
        self._turns_elsewhere = 0
        self._posts: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()

    # In its own thread

    def run(self, main: Callable[[], Steps]) -> None:
        """Run a task, and all others until it has ended."""
        self._own_thread = self.thread = threading.get_ident()
        # A call runs in a copy of the caller's context, which may name another library.
        sniffio.thread_local.name = _NAME
        loop = self._loop = asyncio.new_event_loop()
        # Another kind of loop may not bear to be moved between threads.
        self._stays = not isinstance(loop, asyncio.SelectorEventLoop)
        # From Python 3.12 on, a task begins at once, and not in the loop's next step.
        self._make_task: Callable[[asyncio.AbstractEventLoop, Steps], asyncio.Task[None]] = getattr(
            asyncio, "eager_task_factory", _task_of
        )
        loop.set_task_factory(self._noted)
        try:
            self._run_until_done(asyncio.Task(main(), loop=loop))
        finally:
            self._stays = True
            try:
                loop.run_until_complete(self._end_tasks())
            finally:
                loop.close()

    def _run_until_done(self, last: "asyncio.Task[None]") -> None:
        last.add_done_callback(self._stop)
        try:
            self._loop.run_forever()
            while not last.done():
                self._pause()
                self._loop.run_forever()
        finally:
            last.remove_done_callback(self._stop)
        last.result()

    def _pause(self) -> None:
        """Let others run the event loop, until there is something to do for this thread."""
        if not self._is_free:
            return
        self.thread = None
        self._turn.release()
        if not (self._posts and self._turn.acquire(blocking=False)):
            self._until_handed_over()
        self.thread = self._own_thread

    def _until_handed_over(self) -> None:
        while True:
            before = self._turns_elsewhere
            if self._handed_over.acquire(timeout=_IDLE_SECONDS):
                return
            if self._turns_elsewhere == before and self._turn.acquire(blocking=False):
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
        """Call a function in the event loop.

        Raises:
            RuntimeError: The event loop has ended.
        """
        self._posts.append((function, args))
        self._loop.call_soon_threadsafe(self._perform_post)
        self._have_posts_performed()
        if self.thread not in (None, self._own_thread):
            self._loop.call_soon_threadsafe(self._loop.stop)

    def serve_here(self, begin: Callable[[Call], None], call: Call) -> bool:
        """Run the event loop until `call` has something for this thread, if it stands still.

        Returns:
            Whether `call` was begun. If it has nothing for this thread then, its task continues
            in the loop's own thread.
        """
        if self._turn.locked() or _runs_an_event_loop():
            return False
        with without_interrupts(self._interrupt) as is_safe:
            if not (is_safe and self._turn.acquire(blocking=False)):
                return False
            try:
                self.thread = threading.get_ident()
                sniffio.thread_local.name = _NAME
                call.notify = self._loop.stop
                begin(call)
                self._loop.run_forever()
            except BaseException:
                call.interrupted = True
                raise
            finally:
                if call.interrupted:
                    self._user.abandon()
                call.notify = None
                sniffio.thread_local.name = None
                self.thread = None
                self._turns_elsewhere += 1
                self._give_back()
        return True

    def _give_back(self) -> None:
        if self._is_free:
            self._turn.release()
            self._have_posts_performed()
        else:
            self._handed_over.release()

    def _have_posts_performed(self) -> None:
        """Pass the turn to the loop's own thread if the event loop stands still."""
        while self._posts and self._turn.acquire(blocking=False):
            if self._posts:
                self._handed_over.release()
                return
            self._turn.release()

    def _interrupt(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    @property
    def _is_free(self) -> bool:
        """Whether the event loop may stand still."""
        return not (self._tasks or self._posts or self._stays) and self._user.is_idle

    # In the event loop

    def spawn(self, call: Call) -> None:
        """Make a task that serves `call`."""
        scope = TaskScope()
        scope.bind(self._make_task(self._loop, call.serve(scope)))

    def rest(self) -> None:
        """Note that no call is in flight."""
        if not self._stays:
            self._loop.stop()

    def _stop(self, _: object) -> None:
        self._loop.stop()

    def _perform_post(self) -> None:
        function, args = self._posts.popleft()
        function(*args)

    def _noted(
        self,
        loop: asyncio.AbstractEventLoop,
        steps: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        /,
        **options: Any,  # noqa: ANN401 - as asyncio has them
    ) -> asyncio.Task[Any]:
        """Make a task, which someone has to run."""
        task = asyncio.Task(steps, loop=loop, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class TaskScope:
    """Cancel what a task does within it.

    It is what `anyio.CancelScope` is, for a twentieth of the time: without nesting, and with one
    cancellation for each call of `cancel`.
    """

    __slots__ = ("_task", "cancel_called", "cancelled_caught")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self.cancel_called = False
        self.cancelled_caught = False

    def cancel(self) -> None:
        """Cancel what the task does."""
        self.cancel_called = True
        if self._task is not None:
            self._task.cancel()

    def bind(self, task: "asyncio.Task[None]") -> None:
        """Set the task."""
        self._task = task
        if self.cancel_called:
            task.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> bool:
        self.cancelled_caught = self.cancel_called and isinstance(error, asyncio.CancelledError)
        return self.cancelled_caught


def _task_of(loop: asyncio.AbstractEventLoop, steps: Steps) -> asyncio.Task[None]:
    return asyncio.Task(steps, loop=loop)


def _runs_an_event_loop() -> bool:
    if sniffio.thread_local.name is not None:
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
