"""The server and the network, in virtual time, with books on everything that is open or read."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import ModuleType
from typing import Any, Final, NoReturn

import anyio
import anyio.lowlevel
import httpcore
import httpcore2
import httpx
import httpx2

from tests.scenarios import credentials
from tests.scenarios.attempts import (
    NEVER_SENT,
    NOT_ACTED,
    READ_TIMEOUT,
    Attempt,
    Time,
    TrackedBody,
    answer_headers,
)
from tests.scenarios.plan import BREAKS, FAILURES, Reply
from walltrack.core import family

_CORES: Final[dict[ModuleType, ModuleType]] = {httpx: httpcore, httpx2: httpcore2}


class World(family.AsyncBaseTransport):
    """Answers each attempt as the plan says.

    Args:
        time: What all waiting is done by.
        reply_for: Returns what to do with attempt `number` of call `call`.
        on_step: Called with the number of the call at each step that a cancellation may meet.
        passage: Returns the passage through the last layer; see `layers.current`.
        foreign: Whether what is raised on a cancellation is another CancelledError of asyncio's.
    """

    def __init__(
        self,
        time: Time,
        reply_for: Callable[[int, int], Reply],
        on_step: Callable[[int], None],
        passage: Callable[[], object],
        *,
        foreign: bool = False,
    ) -> None:
        self.time = time
        self.attempts: list[Attempt] = []
        self._reply_for = reply_for
        self._on_step = on_step
        self._passage = passage
        self._foreign = foreign

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer `request`."""
        call = int(request.headers["x-call"])
        number = 1 + sum(attempt.call == call for attempt in self.attempts)
        attempt = Attempt(
            call,
            number,
            request.method,
            self._reply_for(call, number),
            self.time.monotonic(),
            request.headers.get("idempotency-key"),
            request.headers.get(credentials.HEADER),
            self._passage(),
        )
        self.attempts.append(attempt)
        try:
            return await self._serve(attempt, request)
        except BaseException as error:
            attempt.error = error
            raise
        finally:
            attempt.in_flight = False

    async def aclose(self) -> None:
        """Close all connections: what is read or waited for on one ends."""
        await anyio.lowlevel.checkpoint()
        for attempt in self.attempts:
            if attempt.open:
                attempt.lost = True
                if attempt.scope is not None:
                    attempt.scope.cancel()

    async def tidy(self) -> list[str]:
        """End what was left half-way, once everything is over; an invariant finds it out."""
        for attempt in self.attempts:
            if attempt.body is not None:
                await attempt.body.tidy()
        return []

    async def _serve(self, attempt: Attempt, request: httpx.Request) -> httpx.Response:
        reply, home = attempt.reply, _home_of(request)
        await self.wait(attempt, request, 0.0)
        if reply.fails in NEVER_SENT:
            await self._fail(attempt, request)
        stream: Any = request.stream
        async with aclosing(_chunks(stream)) as chunks:
            async for chunk in chunks:
                attempt.received += chunk
                await self.wait(attempt, request, 0.0)
                if reply.fails == "reset while sending":
                    await self._fail(attempt, request)
        attempt.received_all = True
        if reply.fails:
            attempt.acted = reply.fails != "reset while sending"
            await self._fail(attempt, request)
        attempt.acted = reply.status not in NOT_ACTED
        await self.wait(attempt, request, reply.delay)
        attempt.body = AnswerBody(self, attempt, request)
        response: httpx.Response = home.Response(
            reply.status, headers=answer_headers(attempt), stream=attempt.body
        )
        return response

    async def _fail(self, attempt: Attempt, request: httpx.Request) -> NoReturn:
        silent = attempt.reply.fails == "silent"
        await self.wait(attempt, request, READ_TIMEOUT if silent else attempt.reply.delay)
        fail(request, FAILURES[attempt.reply.fails])

    async def wait(self, attempt: Attempt, request: httpx.Request, seconds: float) -> None:
        """Wait for the network, unless the connection is closed meanwhile."""
        self._on_step(attempt.call)
        late = seconds > READ_TIMEOUT
        with anyio.CancelScope() as scope:
            attempt.scope = scope
            await self._sleep(min(seconds, READ_TIMEOUT), scope)
        attempt.scope = None
        if attempt.lost:
            fail(request, "ReadError", anyio.ClosedResourceError())
        if late:
            fail(request, "ReadTimeout")

    async def _sleep(self, seconds: float, scope: anyio.CancelScope) -> None:
        try:
            await self.time.sleep(seconds)
        except asyncio.CancelledError:
            if self._foreign and not scope.cancel_called:
                raise asyncio.CancelledError from None
            raise


class AnswerBody(TrackedBody):
    """The body of an answer, as the plan says."""

    def __init__(self, world: World, attempt: Attempt, request: httpx.Request) -> None:
        super().__init__()
        self._world = world
        self._attempt = attempt
        self._request = request

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        attempt, reply = self._attempt, self._attempt.reply
        content = attempt.content
        end = int(len(content) * reply.after) if reply.breaks else len(content)
        size = max(len(content) // reply.pieces, 1)
        try:
            for start in range(0, end, size):
                await self._world.wait(attempt, self._request, reply.pause)
                piece = content[start : min(start + size, end)]
                attempt.delivered.append((self._world.time.monotonic(), len(piece)))
                yield piece
            silent = reply.breaks == "silent"
            await self._world.wait(attempt, self._request, READ_TIMEOUT if silent else reply.pause)
            if reply.breaks:
                fail(self._request, BREAKS[reply.breaks])
        except BaseException as error:
            self.break_off(error)
            raise

    async def aclose(self) -> None:
        await super().aclose()
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()


def fail(request: httpx.Request, name: str, cause: Exception | None = None) -> NoReturn:
    """Raise httpx's exception of that name, of the request's family, as if httpcore had."""
    home = _home_of(request)
    core: Exception = getattr(_CORES[home], name)(name)
    core.__cause__ = cause
    error: Exception = getattr(home, name)(name, request=request)
    raise error from core


def _home_of(request: httpx.Request) -> ModuleType:
    return httpx if isinstance(request, httpx.Request) else httpx2


async def _chunks(stream: Any) -> AsyncGenerator[bytes, None]:  # noqa: ANN401 - of either family
    chunks = aiter(stream)
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        if hasattr(chunks, "aclose"):
            await chunks.aclose()
