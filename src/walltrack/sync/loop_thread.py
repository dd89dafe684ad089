"""The thread of an event loop.

Awaits: its main task does.
"""

import atexit
import contextvars
import threading
from collections.abc import Awaitable, Callable
from os import getpid
from typing import Final, Literal

import anyio

from walltrack.sync.asyncio_loop import AsyncioLoop
from walltrack.sync.call import Call
from walltrack.sync.trio_loop import TrioLoop

Backend = Literal["asyncio", "trio"]

_CLOSING_SECONDS: Final = 5.0
"""How long closing the inner transport may take before it is cancelled."""

_CANCELLING_SECONDS: Final = 1.0
"""How long calls may take to end once they are cancelled."""

_EXIT_SECONDS: Final = 10.0
"""How long the end of the program waits for the thread; then it dies with the program."""

_UNWINDING_SECONDS: Final = 0.1
"""How long calls may take to end by themselves once the inner transport is closed."""


class LoopThread:
    """Run an event loop in a thread, from now until `stop`.

    The thread is a daemon, which does not keep the program from ending. A program that ends without
    `stop` stops it on its way out.

    Args:
        backend: Which event loop.
        close: Closes the inner transport, when the event loop stops.

    Raises:
        LookupError: The event loop is not installed.
    """

    def __init__(self, backend: Backend, close: Callable[[], Awaitable[None]]) -> None:
        self._events: AsyncioLoop | TrioLoop = (
            TrioLoop() if backend == "trio" else AsyncioLoop(self)
        )
        self._close = close
        self._pid = getpid()
        self._calls: set[Call] = set()  # for whose end threads wait
        self._served: set[Call] = set()  # whose tasks run
        self._in_flight: set[Call] = set()  # whose tasks have something to do
        self._shared = False  # whether several were in flight at once
        self._error: BaseException | None = None
        self._closes = True
        self.closing: bool = False
        self.over: bool = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="walltrack event loop", daemon=True)
        try:
            self._thread.start()
            self._ready.wait()
        except BaseException:  # the program was interrupted, and will not stop what it never got
            self.closing = True
            if self._ready.is_set():
                self.stop(wait=False)
            raise
        if self._error is not None:
            raise self._error
        atexit.register(self._stop_at_exit)

    # In other threads

    @property
    def is_of_this_process(self) -> bool:
        """Whether the thread is there: a fork copies the thread that forks, and no other."""
        return getpid() == self._pid

    def check(self) -> None:
        """Refuse a thread that cannot wait for the event loop.

        Raises:
            RuntimeError: It is that of the event loop itself, or one in a forked process.
        """
        self.refuse_own_thread()
        if not self.is_of_this_process:
            raise RuntimeError(
                "this SyncTransport was opened before os.fork(), and its event loop runs in the "
                "parent process only: open it after the fork, or close() it in this process first"
            )

    def refuse_own_thread(self) -> None:
        """Refuse the thread of the event loop.

        Raises:
            RuntimeError: It is that one.
        """
        if threading.get_ident() == self._events.thread:
            raise RuntimeError(
                "SyncTransport was used in the thread of its own event loop, which would wait for "
                "itself: a listener, `classify`, or a mock beneath it must not use it"
            )

    def start(self, call: Call) -> None:
        """Serve `call` in a task; end it if the event loop is over."""
        self._calls.add(call)
        if self.closing:
            self._refuse(call)
        elif not self._events.serve_here(self._begin, call):
            self.soon(contextvars.copy_context().run, self._begin, call)

    def soon(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the event loop; do nothing if that is over."""
        try:
            self._events.soon(function, *args)
        except RecursionError:  # a RuntimeError, too
            raise
        except RuntimeError:  # `_run` has ended all calls, or is about to
            pass

    def stop(self, *, close: bool = True, wait: bool = True) -> None:
        """End all calls, the event loop and the thread.

        Args:
            close: Whether to close the inner transport.
            wait: Whether to wait until the thread has ended.

        Raises:
            Exception: What closing the inner transport has raised.
        """
        if not self.is_of_this_process:
            return
        self._closes = close
        self.closing = True
        self.soon(self._stopping.set)
        if wait:
            self._thread.join()
            if self._error is not None:
                raise self._error

    def join(self) -> None:
        """Wait for the end of an event loop that is over, or nearly so."""
        self._thread.join(_EXIT_SECONDS)

    def abandon(self) -> None:
        """End the event loop, which may have lost a step of a call; the next call gets another."""
        self.stop(wait=False)
        self.over = True

    def _stop_at_exit(self) -> None:
        self.stop(wait=False)
        self.join()

    # In the thread that runs the event loop

    @property
    def is_idle(self) -> bool:
        """Whether no call is in flight."""
        return not (self._in_flight or self.closing)

    def forget(self, call: Call) -> None:
        """Note that the task of `call` has ended."""
        self._calls.discard(call)
        self._served.discard(call)
        self.rest(call)
        if self.closing and not self._served:
            self._idle.set()

    def rest(self, call: Call) -> None:
        """Note that `call` has nothing to do until its thread wants something."""
        self._in_flight.discard(call)
        if not self._in_flight:
            if not self._shared:
                self._events.rest()
            self._shared = False

    def resume(self, call: Call) -> None:
        """Note that `call` has something to do."""
        self._shared = bool(self._in_flight)
        self._in_flight.add(call)

    def _begin(self, call: Call) -> None:
        if self.closing:
            self._refuse(call)
        elif not call.over:
            call.begun = True
            self._served.add(call)
            self.resume(call)
            self._events.spawn(call)

    def _refuse(self, call: Call) -> None:
        self._calls.discard(call)
        call.end(error=call.closed_error())

    async def _main(self) -> None:
        self._stopping, self._idle = anyio.Event(), anyio.Event()
        self._ready.set()
        if not self.closing:
            await self._stopping.wait()
        for call in self._served:
            call.mute()  # its thread may be the one that closes
        try:
            with anyio.move_on_after(_CLOSING_SECONDS):
                if self._closes:
                    await self._close()
        except Exception as error:  # noqa: BLE001 - `stop` raises it
            self._error = error
        with anyio.move_on_after(_UNWINDING_SECONDS):
            await self._until_idle()
        for call in tuple(self._served):
            call.cancel_here()
        with anyio.move_on_after(_CANCELLING_SECONDS):
            await self._until_idle()

    async def _until_idle(self) -> None:
        if self._served:
            await self._idle.wait()

    def _run(self) -> None:
        try:
            self._events.run(self._main)
        except BaseException as error:  # noqa: BLE001 - as above
            self._error = error
        finally:
            self.closing = self.over = True
            while self._calls:
                self._refuse(self._calls.pop())
            self._ready.set()
            atexit.unregister(self._stop_at_exit)
