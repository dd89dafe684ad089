import ssl

import anyio
import anyio.lowlevel
import pytest

from tests.unit.sync.conftest import SOON, Start, wait_until
from walltrack.sync.loop_thread import LoopThread
from walltrack.sync.network_stream import NetworkStream

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Stream:
    """httpcore's stream, as far as it is used; it records what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def read(self, *args: object) -> bytes:
        await anyio.lowlevel.checkpoint()
        self.asked.append(("read", *args))
        if args[0] == 0:
            await anyio.sleep_forever()
        return b"read"

    async def write(self, *args: object) -> None:
        await anyio.lowlevel.checkpoint()
        self.asked.append(("write", *args))

    async def start_tls(self, *args: object) -> "Stream":
        await anyio.lowlevel.checkpoint()
        self.asked.append(("start_tls", *args))
        return self

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.asked.append(("aclose",))

    def get_extra_info(self, info: str) -> str:
        return f"the {info}"


def test_everything_is_done_in_the_event_loop(loop: LoopThread) -> None:
    """With the arguments, and the result, of the asynchronous method."""
    inner = Stream()
    stream = NetworkStream(loop, inner)
    assert stream.get_extra_info("socket") == "the socket"
    stream.write(b"x", 1.0)
    assert stream.read(5) == b"read"
    secure = stream.start_tls(CONTEXT, "host", 2.0)
    assert secure.read(6, 3.0) == b"read"
    secure.close()
    assert inner.asked == [
        ("write", b"x", 1.0),
        ("read", 5, None),
        ("start_tls", CONTEXT, "host", 2.0),
        ("read", 6, 3.0),
        ("aclose",),
    ]


def test_one_thread_may_write_while_another_reads(loop: LoopThread, start: Start) -> None:
    """As a WebSocket needs it."""
    inner = Stream()
    stream = NetworkStream(loop, inner)
    reading = start(stream.read, 0)
    wait_until(lambda: inner.asked)
    stream.write(b"x")
    assert ("write", b"x", None) in inner.asked
    loop.stop()
    with pytest.raises(Exception, match="closed"):
        reading.result(SOON)


def test_closing_is_no_error_once_the_event_loop_has_ended(loop: LoopThread) -> None:
    """All connections were closed with it."""
    loop.stop()
    NetworkStream(loop, Stream()).close()
