"""The body of a response that httpcore2 received."""

from types import AsyncGeneratorType
from typing import Any, Protocol, Self

import httpcore2
import httpx

from walltrack.core import family


class Owner(Protocol):
    """The pool that a body belongs to."""

    closed: bool
    """Whether all connections were closed finally."""

    def explain(self, request: httpx.Request, error: Exception) -> Exception | None:
        """Return the exception to raise instead of one of httpcore2; None to keep it."""
        ...

    def closed_error(self, request: httpx.Request) -> Exception:
        """Return the exception to raise if the connections were closed in the meantime."""
        ...

    async def body_ended(self, body: "CoreBody") -> None:
        """Note that a body is closed."""
        ...


class CoreBody(family.AsyncByteStream):
    """Read a body once, and give its connection back when it is closed.

    Args:
        request: The request that the response answers.
        response: The response of httpcore2.
        owner: The pool that the response came from.
    """

    def __init__(self, request: httpx.Request, response: httpcore2.Response, owner: Owner) -> None:
        self._request = request
        self._response = response
        self._owner = owner
        self._chunks: Any = None
        self._open = True

    def __aiter__(self) -> Self:
        # Not a generator: if it is not read to its end, it finishes only when garbage-collected.
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
        """Close the body; its connection is reused if the body was read to its end."""
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
