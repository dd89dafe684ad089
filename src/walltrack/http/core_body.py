"""The body of a response that comes over a connection of httpcore2's."""

from types import AsyncGeneratorType
from typing import Any, Protocol, Self

import httpcore2
import httpx

from walltrack.core import family


class Owner(Protocol):
    """What a body came from."""

    closed: bool
    """Whether all connections are closed for good."""

    def explain(self, request: httpx.Request, error: Exception) -> Exception | None:
        """Return what to raise for an exception of httpcore2's; None if that is the exception."""
        ...

    def closed_error(self, request: httpx.Request) -> Exception:
        """Return what to raise when all connections were closed meanwhile."""
        ...

    async def body_ended(self, body: "CoreBody") -> None:
        """Note that a body is closed."""
        ...


class CoreBody(family.AsyncByteStream):
    """Read a body once, and give its connection back when it is closed.

    Args:
        request: The request that was answered.
        response: What the body belongs to.
        owner: The pool that it came from.
    """

    def __init__(self, request: httpx.Request, response: httpcore2.Response, owner: Owner) -> None:
        self._request = request
        self._response = response
        self._owner = owner
        self._chunks: Any = None
        self._open = True

    def __aiter__(self) -> Self:
        # No generator: one that is dropped half-way would end only when it is collected.
        if self._chunks is None:
            stream: Any = self._response.stream
            self._chunks = aiter(stream)
        return self

    async def __anext__(self) -> bytes:
        if self._owner.closed:
            raise self._owner.closed_error(self._request)
        try:
            chunk: bytes = await self._chunks.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as error:
            explained = self._owner.explain(self._request, error)
            if explained is None:
                raise
            raise explained from error
        return chunk

    async def aclose(self) -> None:
        """Close the body; the connection serves again if the body was read to its end."""
        if not self._open:
            return
        self._open = False
        try:
            await self._response.aclose()
        finally:
            try:
                chunks = self._chunks
                if isinstance(chunks, AsyncGeneratorType) and not chunks.ag_running:
                    await chunks.aclose()
            finally:
                await self._owner.body_ended(self)
