import gc
from functools import partial

import anyio
import httpx
import httpx2
import pytest

from tests.support import Body, Endless, get
from tests.unit.sync.conftest import SOON, Start, wait_until
from walltrack import TransportClosedError
from walltrack.sync import loop_thread
from walltrack.sync.call import Job
from walltrack.sync.download import Download, Whole
from walltrack.sync.exchange import Exchange
from walltrack.sync.loop_thread import LoopThread


class Service(httpx.AsyncBaseTransport):
    """Answers with one body that is still to be read."""

    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self.body = body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        return httpx.Response(200, stream=self.body)


def download(loop: LoopThread, body: httpx.AsyncByteStream) -> Download:
    """The body as the thread gets it."""
    stream = Exchange(loop, None, Service(body), get()).send().stream
    assert isinstance(stream, Download)
    return stream


class Open(Endless):
    """A body without an end of which nothing comes at first."""

    async def next_chunk(self) -> bytes:
        self.read += 1
        await anyio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_body_in_memory_is_read_any_number_of_times(home: object) -> None:
    """It is a stream of both families."""
    body = Whole([b"one", b"two"])
    assert [*body, *body] == [b"one", b"two"] * 2
    assert isinstance(body, home.SyncByteStream)  # type: ignore[attr-defined]
    assert issubclass(Download, home.SyncByteStream)  # type: ignore[attr-defined]


def test_a_body_is_read_to_its_end_and_closed(loop: LoopThread) -> None:
    """It is closed once the event loop has read it, before the thread has."""
    body = Body(b"one", b"", b"two")
    stream = download(loop, body)
    wait_until(lambda: body.closes)
    assert list(stream) == [b"one", b"", b"two"]
    assert list(stream) == []
    stream.close()
    stream.close()
    assert body.closes == 1


def test_what_reading_raises_comes_after_what_was_read(loop: LoopThread) -> None:
    """Once; the body is closed by then."""
    error = httpx.ReadError("broken")
    body = Body(b"one", error)
    stream = download(loop, body)
    assert next(stream) == b"one"
    with pytest.raises(httpx.ReadError) as caught:
        next(stream)
    assert caught.value is error
    assert body.closes == 1
    assert list(stream) == []


def test_what_closing_raises_comes_at_the_end(loop: LoopThread) -> None:
    """The chunks come first."""

    class Unclosable(Body):
        async def aclose(self) -> None:
            raise httpx.CloseError("broken")

    stream = download(loop, Unclosable(b"one"))
    assert next(stream) == b"one"
    with pytest.raises(httpx.CloseError):
        next(stream)


def test_the_event_loop_reads_ahead_and_no_further(loop: LoopThread) -> None:
    """More than 64 KiB, and more once the thread has taken half of that."""

    class Large(Endless):
        async def next_chunk(self) -> bytes:
            return await super().next_chunk() * 1024

    body = Large()
    stream = download(loop, body)
    wait_until(lambda: body.read == 65)
    for _ in range(33):
        next(stream)
    Job(loop, anyio.sleep, 0.001).result()
    assert body.read == 65
    next(stream)
    wait_until(lambda: body.read > 65 + 31)
    Job(loop, anyio.sleep, 0.001).result()
    assert body.read <= 65 + 34
    stream.close()
    assert body.closes == 1


def test_a_body_that_is_closed_early_is_closed_when_close_returns(loop: LoopThread) -> None:
    """Wherever the event loop is in it, and nothing can be read afterwards."""
    bodies: list[Endless] = [Endless(), Open()]
    for body in bodies:
        stream = download(loop, body)
        wait_until(partial(getattr, body, "read"))
        stream.close()
        assert body.closes == 1
        with pytest.raises(httpx.StreamClosed):
            next(stream)


def test_another_thread_may_close_a_body_that_is_being_read(loop: LoopThread, start: Start) -> None:
    """The reader gets the exception that a closed stream raises."""
    body = Open()
    stream = download(loop, body)
    reading = start(next, stream)
    wait_until(lambda: body.read)
    stream.close()
    with pytest.raises(httpx.StreamClosed):
        reading.result(SOON)
    assert body.closes == 1


def test_a_body_that_is_dropped_is_closed(loop: LoopThread) -> None:
    """Its connection would be lost else."""
    body = Endless()
    stream = download(loop, body)
    wait_until(lambda: body.read)
    del stream
    gc.collect()
    wait_until(lambda: body.closes == 1)


def test_a_body_ends_with_its_event_loop(loop: LoopThread) -> None:
    """What was read ahead can still be taken."""
    body = Open()
    stream = download(loop, body)
    wait_until(lambda: body.read)
    loop.stop()
    with pytest.raises(TransportClosedError):
        next(stream)
    assert body.closes == 1


def test_the_event_loop_itself_cannot_read_it(loop: LoopThread) -> None:
    """It would wait for itself."""
    stream = download(loop, Body(b"one"))

    async def read() -> None:
        next(stream)

    async def close() -> None:
        stream.close()

    for misuse in (read, close):
        with pytest.raises(RuntimeError, match="own event loop"):
            Job(loop, misuse).result()
    assert list(stream) == [b"one"]


def test_a_forked_process_cannot_read_it(loop: LoopThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading raises, and closing leaves it to the parent process."""
    body = Endless()
    stream = download(loop, body)
    with monkeypatch.context() as patch:
        patch.setattr(loop_thread, "getpid", lambda: -1)
        with pytest.raises(RuntimeError, match="fork"):
            next(stream)
        stream.close()
        stream.__del__()
    assert body.closes == 0
    loop.stop()
    assert body.closes == 1
