"""A request and its response, from a thread to the event loop and back.

Awaits: the request is sent, and its response read, in the event loop.
"""

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final

import anyio
import httpx

from walltrack.core import family
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import TransportClosedError
from walltrack.core.extensions import TRACE
from walltrack.core.mismatch import refuse_mismatch
from walltrack.http.body import SWITCHING
from walltrack.http.watched_body import WatchedBody, watched
from walltrack.sync.call import Call
from walltrack.sync.download import Download, Whole
from walltrack.sync.interfaces import Loop
from walltrack.sync.network_stream import NetworkStream
from walltrack.sync.upload import Upload, is_read_in_loop

_AHEAD_BYTES: Final = 64 * 1024
"""How much of a body is read before the thread asks for it."""

_NETWORK: Final = "network_stream"

_TRACED: Final[ContextVar["Exchange | None"]] = ContextVar("walltrack.traced", default=None)
"""The traced call that a task in the event loop belongs to."""


class Exchange(Call):
    """Send a request in the event loop, and read its response ahead of the thread.

    A body that is in memory comes with the response. Any other is read by the same task, until the
    body ends or the thread closes it.

    Args:
        loop: The event loop.
        transport: What must stay open until the response is closed.
        inner: What sends the request in the event loop.
        request: The request.
    """

    def __init__(
        self,
        loop: Loop,
        transport: object,
        inner: httpx.AsyncBaseTransport,
        request: httpx.Request,
    ) -> None:
        super().__init__(loop)
        self._transport = transport  # which is closed when it is dropped
        self._inner = inner
        self._request = request
        self._read = 0
        self.taken: int = 0
        """How many bytes of the body the thread has taken."""
        self._room: anyio.Event | None = None

    @property
    def home(self) -> ModuleType:
        """The family of the request."""
        return family.home_of(self._request)

    # In the thread

    def send(self) -> httpx.Response:
        """Send the request, and return its response."""
        request = self._request
        stream: Any = request.stream
        if is_read_in_loop(stream):
            response: httpx.Response = self.result()
            return response
        # Not a copy: a deadline, which its redirects share, is kept in it.
        try:
            request.stream = Upload(self, stream)
            response = self.result()
        finally:
            request.stream = stream
        return response

    def make_room(self) -> None:
        """Have the task read on, if it stopped and half of what it read was taken."""
        room = self._room
        if room is not None and self._read - self.taken <= _AHEAD_BYTES // 2:
            self._room = None
            self.loop.soon(room.set)

    # In the event loop

    async def act(self) -> httpx.Response | None:
        """Send the request, and hand over its response."""
        extensions = self._request.extensions
        trace = extensions.get(TRACE)
        if trace is None or inspect.iscoroutinefunction(trace):
            return await self._served()
        extensions[TRACE] = self._traced(trace)  # also while the body is read
        token = _TRACED.set(self)
        try:
            return await self._served()
        finally:
            _TRACED.reset(token)
            extensions[TRACE] = trace

    async def _served(self) -> httpx.Response | None:
        # Here is no reference to a response that the thread has: it may drop it.
        body_or_response = await self._answer()
        if not isinstance(body_or_response, WatchedBody):
            return body_or_response
        await self._read_ahead(body_or_response)
        return None

    def closed_error(self) -> BaseException:
        """Return what the thread gets when the transport is closed meanwhile."""
        delivery = Delivery.UNCERTAIN if self.begun else Delivery.NOT_SENT
        return TransportClosedError(delivery=delivery, request=self._request)

    async def _answer(self) -> httpx.Response | WatchedBody:
        """Return the response if it is complete; else post it, and return its body."""
        request = self._request
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            refuse_mismatch(request, error)
            raise
        network = response.extensions.get(_NETWORK)
        if hasattr(network, "aclose"):
            response.extensions[_NETWORK] = NetworkStream(self.loop, network)
        if type(response.stream) in family.BYTES_IN_MEMORY:
            return response
        if response.is_closed:  # its content is kept elsewhere in it, if it was read
            response.stream = Whole(())
            return response
        body = watched(response)
        if (kept := body.kept) is not None:
            response.stream = Whole(kept)
            await body.aclose()
            return response
        if response.status_code == SWITCHING or request.method == "CONNECT":
            self._room = anyio.Event()  # what follows is no body, unless the thread reads it as one
        response.stream = Download(self)
        self.post(response)
        return body

    async def _read_ahead(self, body: WatchedBody) -> None:
        try:
            if (room := self._room) is not None:
                await room.wait()
            async for chunk in body:
                self._read += len(chunk)
                self.post(chunk)
                if self._read - self.taken > _AHEAD_BYTES:
                    await self._until_there_is_room()
        except BaseException:
            await body.abandon()
            raise
        await body.aclose()

    async def _until_there_is_room(self) -> None:
        room = self._room = anyio.Event()
        if self._read - self.taken > _AHEAD_BYTES // 2:  # the thread may just have taken some
            await room.wait()
        self._room = None

    def _traced(self, trace: Callable[..., object]) -> Callable[..., Any]:
        async def in_thread(name: str, info: object) -> None:
            if _TRACED.get() is self:  # not where another call closes the connection of this one
                await self.tell(trace, name, info)

        return in_thread
