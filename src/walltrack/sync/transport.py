"""The transport for synchronous clients."""

import threading
import weakref
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx

from walltrack.core import family, validation
from walltrack.http.forwarding import shown
from walltrack.http.given_pool import guarded_pool
from walltrack.http.sending import http_transport
from walltrack.sync.exchange import Exchange
from walltrack.sync.loop_thread import Backend, LoopThread
from walltrack.sync.visit import Visit, close_all


class SyncTransport(family.BaseTransport):
    """Send the requests of synchronous clients through an asynchronous transport.

        client = httpx.Client(transport=SyncTransport(resilient_transport()))

    One event loop owns the transport. All threads that use the client share one circuit breaker,
    one budget and one limit. The event loop has a thread of its own, which starts at the first call
    and ends at the closing, or with the program.

    - On asyncio, a caller that is alone runs the event loop itself, which saves the way to another
      thread and back. The main thread does not while the program has a handler of its own for
      SIGALRM, SIGHUP, SIGTERM, SIGUSR1 or SIGUSR2: asyncio could ignore what it raises. The
      event loops of uvloop and of Windows stay in their thread.
    - Request bodies of generators and files are read in the calling thread. They are sent once.
    - Response bodies stream: up to 64 KiB are read ahead.
    - Exceptions come out unchanged. KeyboardInterrupt cancels the call. If it does not come during
      a wait but in the middle of a step, its connections are closed, and the next call opens more.
    - Calls run in a copy of the caller's context: `contextvars` are seen by the layers.
    - A synchronous `trace` function is called in the calling thread, while it waits for the call.
    - After `close()` it can be used again. A call that was in flight at the closing raises
      TransportClosedError.
    - Clients that share it close it when the last one that was opened by `with` is closed;
      `close()` closes it at once.
    - In a coroutine it blocks the event loop, as any synchronous client does: use an AsyncClient.

    Args:
        transport: An asynchronous transport; None makes an `HTTPTransport()`.
        backend: The event loop: "asyncio" or "trio", which has to be installed.

    Raises:
        TypeError: `transport` is not an asynchronous transport.
        ValueError: `backend` is none of the two.
    """

    def __init__(
        self, transport: family.Transport | None = None, *, backend: Backend = "asyncio"
    ) -> None:
        validation.choice("backend", backend, ("asyncio", "trio"))
        self._inner = http_transport() if transport is None else guarded_pool(transport)
        self._backend = backend
        self._loop: LoopThread | None = None
        self._visits: list[Visit] = []
        self._changing = threading.Lock()

    def __repr__(self) -> str:
        backend = "" if self._backend == "asyncio" else f", backend={self._backend!r}"
        return f"{type(self).__name__}({shown(self._inner)}{backend})"

    @property
    def inner(self) -> httpx.AsyncBaseTransport:
        """The asynchronous transport."""
        return self._inner

    def describe(self) -> dict[str, Any]:
        """Return the settings, as JSON has them; see `snapshot`."""
        return {"settings": {"backend": self._backend}}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`.

        Raises:
            TransportClosedError: The transport was closed while the call was in flight.
            RuntimeError: It was used in its own event loop, or opened before a fork.
            LookupError: `backend` is not installed.
            ConnectError: This machine has no file left for an event loop.
        """
        loop = self._loop
        if loop is None or loop.over:
            with self._changing:
                try:
                    loop = self._opened()
                except OSError as error:
                    home = family.home_of(request)
                    raise home.ConnectError(str(error), request=request) from error
        return Exchange(loop, self, self._inner, request).send()

    def __enter__(self) -> Self:
        self._refuse_own_thread()
        with self._changing:
            visit = Visit(self._opened(), self._inner)
            try:
                visit.result()
            except BaseException:
                if not self._visits:
                    self._stop()
                raise
            self._visits.append(visit)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Close the transport, unless another client that shares it is still open."""
        self._refuse_own_thread()
        with self._changing:
            visit = self._visits.pop() if self._visits else None
            try:
                if visit is not None and visit.loop.is_of_this_process:
                    if not self._visits:  # it closes the transport: no call may open it again
                        visit.loop.closing = True
                    visit.leave(exc_type, exc_value, traceback)
            finally:
                if not self._visits:
                    self._stop(close=visit is None)

    async def __aenter__(self) -> NoReturn:
        """Refuse an asynchronous client."""
        raise TypeError(
            "a SyncTransport is for httpx.Client; give an httpx.AsyncClient the transport inside it"
        )

    def close(self) -> None:
        """End the calls that are in flight, close the inner transport, and end the thread.

        Raises:
            RuntimeError: It was called in its own event loop.
        """
        self._refuse_own_thread()
        with self._changing:
            self._stop()

    def _opened(self) -> LoopThread:
        loop = self._loop
        if loop is None or loop.over:
            if loop is not None:
                loop.join()  # it may still have what the layers keep
            family.notice()  # the client is open, so its family is imported
            self._visits.clear()
            loop = LoopThread(self._backend, partial(close_all, self._inner, self._visits))
            self._dropped = weakref.finalize(self, loop.stop, wait=False)
            self._dropped.atexit = False  # the program's end has its own way
            self._loop = loop
        return loop

    def _stop(self, *, close: bool = True) -> None:
        loop = self._loop
        if loop is None:
            return
        try:
            loop.stop(close=close)
        finally:
            self._dropped.detach()
            self._loop = None

    def _refuse_own_thread(self) -> None:
        # Before the lock: another thread may hold it that waits for the event loop.
        if self._loop is not None:
            self._loop.refuse_own_thread()
