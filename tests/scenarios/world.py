"""The server and the network, in virtual time, with books on everything that is open or read."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final, NoReturn

import anyio
import anyio.lowlevel
import httpcore
import httpcore2
import httpx
import httpx2

from tests.scenarios.plan import BREAKS, FAILURES, Reply
from tests.support import ConnectionBody
from walltrack.core import family
from walltrack.testing import VirtualTime

READ_TIMEOUT: Final = 5.0
"""Seconds; as httpx's own, after which silence ends an attempt."""

RECOVERY: Final = -1
"""The number of the calls that are made at the end, when the server is well."""

_BODILESS: Final = (204, 302)
_NEVER_SENT: Final = ("refused", "no connection", "no place in the pool")
_CORES: Final[dict[ModuleType, ModuleType]] = {httpx: httpcore, httpx2: httpcore2}


def content_of(tag: str, size: int) -> bytes:
    """Return the body of the answer to an attempt; no two of a call begin alike."""
    call, _, number = tag.partition(".")
    unit = f"{number}<of call {call}>".encode()
    return (unit * (size // len(unit) + 1))[:size]


@dataclass(eq=False)
class Attempt:
    """One attempt, as the server and the network see it."""

    call: int
    number: int
    method: str
    reply: Reply
    at: float
    key: str | None
    passage: Any = None  # the last layer's; see `layers.Passage`
    received: bytes = b""
    received_all: bool = False
    acted: bool = False
    error: BaseException | None = None
    body: "AnswerBody | None" = None
    delivered: list[tuple[float, int]] = field(default_factory=list)  # when, how many bytes
    under_way: bool = True  # not answered yet
    lost: bool = False  # with a connection that was closed
    scope: anyio.CancelScope | None = None

    @property
    def tag(self) -> str:
        """The name of the attempt, which is in its answer."""
        return f"{self.call}.{self.number}"

    @property
    def content(self) -> bytes:
        """The whole body of the answer."""
        bodiless = self.method == "HEAD" or self.reply.status in _BODILESS
        return b"" if bodiless else content_of(self.tag, self.reply.size)

    @property
    def open(self) -> bool:
        """Whether it occupies a connection."""
        return self.under_way or (self.body is not None and self.body.open)


class World(family.AsyncBaseTransport):
    """Answers each attempt as the plan says.

    Args:
        time: What all waiting is done by.
        reply_for: Returns what to do with attempt `number` of call `call`.
        on_step: Called with the number of the call at each step that a cancellation may meet.
        foreign: Whether what is raised on a cancellation is another CancelledError of asyncio's.
    """

    def __init__(
        self,
        time: VirtualTime,
        reply_for: Callable[[int, int], Reply],
        on_step: Callable[[int], None],
        *,
        foreign: bool = False,
    ) -> None:
        self.time = time
        self.attempts: list[Attempt] = []
        self.passage: Callable[[], object] = lambda: None
        self._reply_for = reply_for
        self._on_step = on_step
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
            self.passage(),
        )
        self.attempts.append(attempt)
        try:
            return await self._serve(attempt, request)
        except BaseException as error:
            attempt.error = error
            raise
        finally:
            attempt.under_way = False

    async def aclose(self) -> None:
        """Close all connections: what is read or waited for on one ends."""
        await anyio.lowlevel.checkpoint()
        for attempt in self.attempts:
            if attempt.open:
                attempt.lost = True
                if attempt.scope is not None:
                    attempt.scope.cancel()

    async def tidy(self) -> None:
        """End what was left half-way, once everything is over."""
        for attempt in self.attempts:
            if attempt.body is not None:
                await attempt.body.tidy()

    async def _serve(self, attempt: Attempt, request: httpx.Request) -> httpx.Response:
        reply, home = attempt.reply, _home_of(request)
        await self.wait(attempt, request, 0.0)
        if reply.fails in _NEVER_SENT:
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
        attempt.acted = reply.status not in (429, 503)
        await self.wait(attempt, request, reply.delay)
        attempt.body = AnswerBody(self, attempt, request)
        response: httpx.Response = home.Response(
            reply.status, headers=_headers(attempt), stream=attempt.body
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


class AnswerBody(ConnectionBody, httpx2.AsyncByteStream):
    """The body of an answer. As httpcore's, it lets go of its connection when it breaks off."""

    def __init__(self, world: World, attempt: Attempt, request: httpx.Request) -> None:
        super().__init__()
        self.open = True
        self.half_way = False
        self.error: BaseException | None = None
        self._iteration: Any = None
        self._world = world
        self._attempt = attempt
        self._request = request

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._iteration = super().__aiter__()
        return self._iteration  # type: ignore[no-any-return]

    async def tidy(self) -> None:
        """Find out whether the generator was left half-way, to be ended by the collector."""
        generator, self._iteration = self._iteration, None
        if generator is not None and generator.ag_frame is not None:
            self.half_way = True
            await generator.aclose()

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
            self.open = False
            self.error = error
            raise

    async def aclose(self) -> None:
        await super().aclose()
        self.open = False
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


def _headers(attempt: Attempt) -> dict[str, str]:
    reply = attempt.reply
    headers = {"x-attempt": attempt.tag}
    if reply.chunked:
        headers["transfer-encoding"] = "chunked"
    elif reply.status not in _BODILESS:
        headers["content-length"] = str(reply.size)  # that of a HEAD is of what a GET would get
    if reply.retry_after is not None:
        headers["retry-after"] = str(reply.retry_after)
    return headers


async def _chunks(stream: Any) -> AsyncGenerator[bytes, None]:  # noqa: ANN401 - of either family
    chunks = aiter(stream)
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        if hasattr(chunks, "aclose"):
            await chunks.aclose()
