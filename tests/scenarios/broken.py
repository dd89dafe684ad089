"""Layers that each break a rule, to show that an invariant notices it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import FunctionType
from typing import Any

import anyio
import anyio.lowlevel
import httpx

from tests.scenarios.layers import Hooks
from walltrack import CircuitClosed
from walltrack.core import family


class Broken(family.AsyncBaseTransport):
    """A layer that does nothing, and so nothing wrong.

    Args:
        inner: What stands beneath.
        hooks: The functions that layers take from their caller.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, hooks: Hooks) -> None:
        self.inner = inner
        self.hooks = hooks

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.inner.handle_async_request(request)


class _Altered(family.AsyncByteStream):
    """A body of which each chunk is changed."""

    def __init__(self, body: Any, change: Callable[[bytes], bytes]) -> None:  # noqa: ANN401 - of either family
        self._body = body
        self._change = change

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            yield self._change(chunk)

    async def aclose(self) -> None:
        await self._body.aclose()


class DoublesBytes(Broken):
    """Hands out every chunk twice."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        response.stream = _Altered(response.stream, lambda chunk: chunk * 2)
        return response


class LosesBytes(Broken):
    """Leaves out the end of every chunk."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        response.stream = _Altered(response.stream, lambda chunk: chunk[:-1])
        return response


class MixesAttempts(Broken):
    """Answers with the headers of one attempt and the body of another."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        first = await super().handle_async_request(request)
        second = await super().handle_async_request(request)
        await first.aclose()
        first.stream = second.stream
        first.is_closed = False
        return first


class RaisesItsOwn(Broken):
    """Fails by a mistake of its own."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        await response.aclose()
        raise anyio.BusyResourceError("reading from")


class PrefersTheFirst(Broken):
    """Sends twice, and answers with the first."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        first = await super().handle_async_request(request)
        second = await super().handle_async_request(request)
        await second.aclose()
        return first


class ReadsAhead(Broken):
    """Reads from the body, which its reader then reads from the connection again."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        body: Any = response.stream
        async for _ in body:
            pass
        return response


class SendsEmpty(Broken):
    """Sends a body that was used up."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.stream = httpx.ByteStream(b"")
        return await super().handle_async_request(request)


class KeyForEachAttempt(Broken):
    """Makes a new key whenever it sends."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["idempotency-key"] = self.hooks.new_key()
        return await super().handle_async_request(request)


class TakesItsTime(Broken):
    """Waits regardless of the deadline or of the transport being closed."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self.hooks.time.sleep(20.0)
        return await super().handle_async_request(request)


class LeavesOpen(Broken):
    """Sends twice, and forgets one of the answers."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await super().handle_async_request(request)
        return await super().handle_async_request(request)


class LeavesHalfWay(Broken):
    """Sends twice, and closes one of the answers in the middle of its iteration."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        first = await super().handle_async_request(request)
        body: Any = first.stream
        await anext(aiter(body))
        await first.aclose()
        return await super().handle_async_request(request)


class LeavesTask(Broken):
    """Starts a task whose exception no one retrieves."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asyncio.get_running_loop().create_task(_fails()).set_name("forgotten")
        await self.hooks.time.sleep(0.1)
        return await super().handle_async_request(request)


async def _fails() -> None:
    raise ZeroDivisionError


class LeavesGenerator(Broken):
    """Drops an async generator in its middle."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        generate: Any = FunctionType(_chunks.__code__, {"__name__": "walltrack.broken"})
        await anext(generate())
        return await super().handle_async_request(request)


async def _chunks() -> AsyncGenerator[bytes, None]:
    yield b"one"
    yield b"two"


class SwallowsCancellation(Broken):
    """Takes a cancellation for a failure of the connection."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except asyncio.CancelledError:
            return await super().handle_async_request(request)


class DefersCancellation(Broken):
    """Continues for a while after its caller was cancelled."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with anyio.CancelScope(shield=True):
            return await super().handle_async_request(request)
        raise AssertionError  # it is never cancelled


class CancelsCaller(Broken):
    """Lets a cancellation of its own reach the caller."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.hooks.armed:
            raise asyncio.CancelledError
        return await super().handle_async_request(request)


class NeverAnswers(Broken):
    """Waits without end."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.Event().wait()
        return await super().handle_async_request(request)


class NeverRecovers(Broken):
    """Turns every response into a 503, permanently."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        response.status_code = 503
        return response


class ReportsTwice(Broken):
    """Reports that a circuit closed which was not open."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.hooks.listener(CircuitClosed(request.url.host))
        return await super().handle_async_request(request)
