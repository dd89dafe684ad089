"""What is known of each attempt, in a world of virtual time and over sockets alike."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import anyio
import httpx2

from tests.scenarios.plan import Reply
from tests.support import ConnectionBody

RECOVERY: Final = -1
"""The number of the calls that are made at the end, when the server is well."""

READ_TIMEOUT: Final = 5.0
"""Seconds, as httpx's own, after which silence ends an attempt."""

BODILESS: Final = (204, 302)
NEVER_SENT: Final = ("refused", "no connection", "no place in the pool")
NOT_ACTED: Final = (401, 429, 503)


class Time(Protocol):
    """What a scenario waits by, and measures."""

    def monotonic(self) -> float:
        """Return the seconds since this time began."""
        ...

    def time(self) -> float:
        """Return the seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def move_on_after(self, delay: float) -> anyio.CancelScope:
        """Return a scope that is cancelled after `delay` seconds."""
        ...


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
    nonce: str | None = None
    passage: Any = None  # the last layer's; see `layers.Passage`
    received: bytes = b""
    received_all: bool = False
    acted: bool = False
    error: BaseException | None = None
    body: "TrackedBody | None" = None
    delivered: list[tuple[float, int]] = field(default_factory=list)  # when, how many bytes
    in_flight: bool = True  # not answered yet
    lost: bool = False  # with a connection that was closed
    scope: anyio.CancelScope | None = None

    @property
    def tag(self) -> str:
        """The name of the attempt, which is in its answer."""
        return f"{self.call}.{self.number}"

    @property
    def content(self) -> bytes:
        """The whole body of the answer."""
        bodiless = self.method == "HEAD" or self.reply.status in BODILESS
        return b"" if bodiless else content_of(self.tag, self.reply.size)

    @property
    def open(self) -> bool:
        """Whether it occupies a connection."""
        return self.in_flight or (self.body is not None and self.body.open)


class TrackedBody(ConnectionBody, httpx2.AsyncByteStream):
    """The body of an answer. As httpcore's, it lets go of its connection when it breaks off."""

    def __init__(self) -> None:
        super().__init__()
        self.open = True
        self.half_way = False
        self.error: BaseException | None = None
        self._iteration: Any = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._iteration = super().__aiter__()
        chunks: AsyncIterator[bytes] = self._iteration
        return chunks

    def break_off(self, error: BaseException) -> None:
        """Note that reading ended by an exception."""
        self.open = False
        self.error = error

    async def aclose(self) -> None:
        await super().aclose()
        self.open = False

    async def tidy(self) -> None:
        """Find out whether the generator was left half-way, to be ended by the collector."""
        generator, self._iteration = self._iteration, None
        if generator is not None and generator.ag_frame is not None:
            self.half_way = True
            await generator.aclose()


def answer_headers(attempt: Attempt) -> dict[str, str]:
    """Return the headers of the answer to an attempt."""
    reply = attempt.reply
    headers = {"x-attempt": attempt.tag}
    if reply.status in BODILESS:
        headers |= {} if reply.status == 204 else {"content-length": "0"}
    elif reply.chunked:
        headers["transfer-encoding"] = "chunked"
    else:
        headers["content-length"] = str(reply.size)  # that of a HEAD is of what a GET would get
    if reply.retry_after is not None:
        headers["retry-after"] = str(reply.retry_after)
    return headers
