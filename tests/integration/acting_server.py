"""A server on loopback that acts on orders, counts what it acted on, and falters by dice.

What happens to an attempt depends on the seed, the order and the attempt's number alone, not on the
sequence in which attempts arrive. It runs in the event loop of the test: a thousand orders would
spend most of their time on handing over between threads.
"""

import contextlib
import enum
import random
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream


class Fault(enum.Enum):
    """The fate of an attempt: whether the server acts on it, and what the client gets."""

    NONE = True, 200
    RESET_BEFORE = False, "reset"
    RESET_AFTER = True, "reset"
    CLOSE_AFTER = True, "close"
    REFUSE = False, 503
    THROTTLE = False, 429
    FAIL_BEFORE = False, 500
    FAIL_AFTER = True, 500
    BAD_GATEWAY_AFTER = True, 502
    SILENCE_AFTER = True, "silence"

    def __init__(self, acts: bool, shows: int | str) -> None:  # noqa: FBT001 - as in the table
        self.acts = acts
        self.shows = shows


FAULTS = [fault for fault in Fault if fault is not Fault.NONE]


@dataclass
class ActingServer:
    """What the server was asked, and what it did."""

    seed: int = 0
    honours_keys: bool = False
    faltering: float = 0.3
    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    acted: Counter[str] = field(default_factory=Counter)
    keys: defaultdict[str, list[str | None]] = field(default_factory=lambda: defaultdict(list))
    done: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/orders"

    async def serve(self, stream: SocketStream) -> None:
        """Serve one connection."""
        gone = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError)
        reader = BufferedByteReceiveStream(stream)
        async with stream:
            with contextlib.suppress(*gone):
                while await self._serve_one(reader, stream):
                    pass

    async def _serve_one(self, reader: BufferedByteReceiveStream, stream: SocketStream) -> bool:
        order, key = await _read(reader)
        fault = self._dice(order)
        self.asked[order] += 1
        self.keys[order].append(key)
        if fault.acts:
            self._act(order, key)
        if isinstance(fault.shows, int):
            await stream.send(b"HTTP/1.1 %d Whatever\r\ncontent-length: 0\r\n\r\n" % fault.shows)
            return True
        if fault.shows == "silence":
            await stream.receive()  # until the client has had enough
        if fault.shows == "reset":
            linger = struct.pack("ii", 1, 0)
            stream.extra(SocketAttribute.raw_socket).setsockopt(  # noqa: S610 - not Django
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            await anyio.aclose_forcefully(stream)
        return False

    def _dice(self, order: str) -> Fault:
        dice = random.Random(f"{self.seed} {order} {self.asked[order]}")  # noqa: S311 - no secret
        return dice.choice(FAULTS) if dice.random() < self.faltering else Fault.NONE

    def _act(self, order: str, key: str | None) -> None:
        if self.honours_keys and key is not None:
            if key in self.done:
                return
            self.done.add(key)
        self.acted[order] += 1


async def _read(reader: BufferedByteReceiveStream) -> tuple[str, str | None]:
    lines = (await reader.receive_until(b"\r\n\r\n", 2**16)).decode("latin-1").split("\r\n")
    headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:])}
    body = await reader.receive_exactly(int(headers["content-length"]))
    return body.decode(), headers.get("idempotency-key")


@asynccontextmanager
async def acting(server: ActingServer) -> AsyncIterator[ActingServer]:
    """The server listens."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as connections,
    ):
        server.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - not Django
        connections.start_soon(listener.serve, server.serve)
        yield server
        connections.cancel_scope.cancel()
