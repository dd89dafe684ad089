"""The world of a scenario over real sockets: a pool of httpx's, and a server that misbehaves."""

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Final

import anyio
import httpx

from tests.integration.fault_server import Exchange, FaultServer, head
from tests.scenarios import credentials
from tests.scenarios.attempts import (
    BODILESS,
    NEVER_SENT,
    NOT_ACTED,
    RECOVERY,
    Attempt,
    TrackedBody,
    answer_headers,
)
from tests.scenarios.plan import Reply
from walltrack.core import family

SPEED: Final = 50.0
"""Seconds of a scenario in a real one."""

CONNECTIONS: Final = 6
"""As many as a pool may have."""

_NOWHERE: Final = "http://127.0.0.1:1"
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class FastTime:
    """Real time in which a second of a scenario is over soon."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def monotonic(self) -> float:
        return (time.monotonic() - self._began) * SPEED

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / SPEED)

    def move_on_after(self, delay: float) -> anyio.CancelScope:
        return anyio.move_on_after(delay / SPEED)


class SocketWorld(family.AsyncBaseTransport):
    """Sends each attempt over a pool of httpx's, to a server that knows what to do with it.

    Args:
        clock: The time of the scenario.
        server: Where it sends them.
        home: The family of httpx whose pool it is.
        loses_none: Whether no connection may be lost.
        reply_for: Returns what to do with attempt `number` of call `call`.
        on_step: Called with the number of the call at each step of httpcore's.
        passage: Returns the passage through the last layer.
    """

    def __init__(
        self,
        clock: FastTime,
        server: "ReplyServer",
        home: ModuleType,
        *,
        loses_none: bool,
        reply_for: Callable[[int, int], Reply],
        on_step: Callable[[int], None],
        passage: Callable[[], object],
    ) -> None:
        self.attempts: list[Attempt] = []
        self.loses_none = loses_none
        self._clock = clock
        self._server = server
        self._home = home
        self._name = server.name_one()
        self._reply_for = reply_for
        self._on_step = on_step
        self._passage = passage
        limits = home.Limits(max_connections=CONNECTIONS)
        self._pool: httpx.AsyncHTTPTransport = home.AsyncHTTPTransport(
            verify=_NO_TLS, limits=limits
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`."""
        attempt = self._begin(request)
        try:
            response = await self._pool.handle_async_request(self._sent(request, attempt))
            stream: Any = response.stream
            response.stream = attempt.body = _SocketBody(stream, attempt, self._clock)
        except BaseException as error:
            attempt.error = error
            raise
        finally:
            attempt.in_flight = False
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def tidy(self) -> list[str]:
        """Find out whether all connections of the pool are free: the server waits for them all."""
        for attempt in self.attempts:
            if attempt.body is not None:
                await attempt.body.tidy()
        problems: list[str] = []

        async def ask(client: httpx.AsyncClient) -> None:
            try:
                await client.get(f"{self._server.url}/all", headers={"x-world": self._name})
            except Exception as error:  # noqa: BLE001 - to be judged afterwards
                problems.append(f"a connection of the pool is not free: {error!r}")

        client = self._home.AsyncClient(transport=self._pool, timeout=self._server.patience)
        async with anyio.create_task_group() as tasks:
            for _ in range(CONNECTIONS if self.loses_none else 0):
                tasks.start_soon(ask, client)
        for attempt in self.attempts:
            if isinstance(attempt.body, _SocketBody) and attempt.body.open:
                await attempt.body.end()
        return problems

    @property
    def open_connections(self) -> int:
        """How many connections are open, as the server has it."""
        return sum(not writer.is_closing() for writer in self._server.connections[self._name])

    def _begin(self, request: httpx.Request) -> Attempt:
        call = int(request.headers["x-call"])
        number = 1 + sum(attempt.call == call for attempt in self.attempts)
        attempt = Attempt(
            call,
            number,
            request.method,
            self._reply_for(call, number),
            self._clock.monotonic(),
            request.headers.get("idempotency-key"),
            request.headers.get(credentials.HEADER),
            self._passage(),
        )
        if not attempt.content:  # there is nothing that could break off
            attempt.reply = replace(attempt.reply, breaks="")
        self.attempts.append(attempt)
        self._server.attempts[f"{self._name} {attempt.tag}"] = attempt
        return attempt

    def _sent(self, request: httpx.Request, attempt: Attempt) -> httpx.Request:
        url = _NOWHERE if attempt.reply.fails in NEVER_SENT else self._server.url
        headers = request.headers.copy()
        headers["x-attempt"] = f"{self._name} {attempt.tag}"
        trace = request.extensions.get("trace")

        async def step(name: str, info: Mapping[str, Any]) -> None:
            if attempt.call != RECOVERY:
                self._on_step(attempt.call)
            if trace is not None:
                await trace(name, info)

        sent: httpx.Request = self._home.Request(
            request.method,
            url,
            headers=headers,
            stream=request.stream,
            extensions={**request.extensions, "trace": step},
        )
        return sent


class _SocketBody(TrackedBody):
    """The body of an answer as it comes from the pool."""

    def __init__(self, stream: httpx.AsyncByteStream, attempt: Attempt, clock: FastTime) -> None:
        super().__init__()
        self._stream = stream
        self._attempt = attempt
        self._clock = clock

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._stream:
                self._attempt.delivered.append((self._clock.monotonic(), len(chunk)))
                yield chunk
        except BaseException as error:
            self.break_off(error)
            raise

    async def aclose(self) -> None:
        await super().aclose()
        await self.end()

    async def end(self) -> None:
        """Give the connection back, and let an open body count as open."""
        await self._stream.aclose()


@dataclass
class ReplyServer:
    """Does with each attempt what its reply says.

    Args:
        server: What speaks HTTP, and counts connections.
    """

    server: FaultServer
    attempts: dict[str, Attempt] = field(default_factory=dict)  # by the name in their header
    patience: float = 5.0  # seconds for all connections of a pool to be free
    worlds: int = 0
    connections: defaultdict[str, set[asyncio.StreamWriter]] = field(
        default_factory=lambda: defaultdict(set)
    )  # by the name of the world
    waiting: dict[str, list[asyncio.Event]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server.default = self._reply
        self.server.before_body = self._before_body

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.server.url

    def name_one(self) -> str:
        """Return a name for a world, which its attempts carry."""
        self.worlds += 1
        return f"world-{self.worlds}"

    def _attempt_of(self, exchange: Exchange) -> Attempt:
        return self.attempts[exchange.seen.headers["x-attempt"]]

    async def _before_body(self, exchange: Exchange) -> None:
        if exchange.seen.target == "/all":
            return
        world, _, _ = exchange.seen.headers["x-attempt"].partition(" ")
        self.connections[world].add(exchange.writer)
        if self._attempt_of(exchange).reply.fails == "reset while sending":
            exchange.reset()

    async def _reply(self, exchange: Exchange) -> None:
        if exchange.seen.target == "/all":
            await self._wait_for_all(exchange)
            return
        attempt = self._attempt_of(exchange)
        reply = attempt.reply
        attempt.received, attempt.received_all = exchange.seen.body, True
        attempt.acted = bool(reply.fails) or reply.status not in NOT_ACTED
        if reply.fails == "silent":
            await exchange.reader.read()
        await asyncio.sleep(reply.delay / SPEED)
        if reply.fails:
            exchange.end() if reply.fails == "closed" else exchange.reset()
            return
        await exchange.send(head(reply.status, answer_headers(attempt)))
        if attempt.method != "HEAD" and reply.status not in BODILESS:
            await _send_body(exchange, attempt)

    async def _wait_for_all(self, exchange: Exchange) -> None:
        here = self.waiting.setdefault(exchange.seen.headers["x-world"], [])
        here.append(asyncio.Event())
        if len(here) == CONNECTIONS:
            for event in here:
                event.set()
        try:
            await asyncio.wait_for(here[-1].wait(), self.patience)
        except TimeoutError:
            exchange.end()
        else:
            await exchange.send(head(204, {}))


async def _send_body(exchange: Exchange, attempt: Attempt) -> None:
    reply, content = attempt.reply, attempt.content
    end = int(len(content) * reply.after) if reply.breaks else len(content)
    size = max(len(content) // reply.pieces, 1)
    for start in range(0, end, size):
        await asyncio.sleep(reply.pause / SPEED)
        piece = content[start : min(start + size, end)]
        await exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece) if reply.chunked else piece)
    if reply.breaks == "silent":
        await exchange.reader.read()
    if reply.breaks:
        exchange.reset() if reply.breaks == "reset" else exchange.end()
    elif reply.chunked:
        await exchange.send(b"0\r\n\r\n")
