import io
import os
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

from tests.support import URL
from walltrack.sync.call import Call
from walltrack.sync.loop_thread import LoopThread
from walltrack.sync.upload import Upload, is_read_in_loop

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])


def sent(home: Any = httpx, **body: Any) -> object:  # noqa: ANN401 - either family, any body
    """The stream of a request with this body."""
    return home.Request("POST", URL, **body).stream


class Sending(Call):
    """Reads a body in the event loop, as a transport does."""

    def __init__(self, loop: LoopThread, stream: httpx.SyncByteStream) -> None:
        super().__init__(loop)
        self.stream = stream

    async def act(self) -> list[bytes]:
        return [chunk async for chunk in Upload(self, self.stream)]


@each_family
def test_the_event_loop_reads_what_is_in_memory(home: object) -> None:
    """Bytes, forms and JSON need no thread."""
    for body in ({}, {"content": b"x"}, {"data": {"a": "b"}}, {"json": [1]}):
        assert is_read_in_loop(sent(home, **body))


@each_family
def test_the_event_loop_reads_files_from_a_disk(home: object) -> None:
    """Parts of a form that are on a disk or in memory: they can be sent again."""
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile(buffering=0) as unbuffered:
        parts = {"a": file, "b": unbuffered, "c": io.BytesIO(b"c"), "d": b"d", "e": "e"}
        assert is_read_in_loop(sent(home, files=parts, data={"f": "g"}))


def test_the_event_loop_does_not_wait_for_a_pipe() -> None:
    """It would hold up the calls of all threads."""
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe, open(writing, "wb"):  # noqa: PTH123 - descriptors
        assert not is_read_in_loop(sent(files={"file": pipe}))


def test_the_event_loop_does_not_read_files_of_unknown_classes() -> None:
    """They may do anything in order to read, even use this client."""

    class File(io.BytesIO):
        pass

    class Remote:
        def read(self, _: int) -> bytes:
            return b""

    assert is_read_in_loop(sent(files={"file": io.BytesIO()}))
    assert not is_read_in_loop(sent(files={"file": Remote()}))
    assert not is_read_in_loop(sent(files={"file": File()}))


@pytest.mark.parametrize("content", [iter([b"x"]), [b"x"], io.BytesIO(b"x")])
def test_the_event_loop_does_not_read_what_is_only_synchronous(content: object) -> None:
    """A generator, or a file that is a body by itself."""
    assert not is_read_in_loop(sent(content=content))


def test_the_event_loop_reads_what_is_asynchronous() -> None:
    """A stream of the caller's own that is of both kinds."""

    class Both(httpx.AsyncByteStream, httpx.SyncByteStream):
        """A stream of both kinds."""

    assert is_read_in_loop(Both())


def test_a_body_is_generated_in_the_thread(loop: LoopThread) -> None:
    """Chunk by chunk, when the event loop wants it."""
    threads = set()

    def generate() -> Iterator[bytes]:
        for chunk in (b"one", b"", b"two"):
            threads.add(threading.get_ident())
            yield chunk

    stream: Any = sent(content=generate())
    assert Sending(loop, stream).result() == [b"one", b"", b"two"]
    assert threads == {threading.get_ident()}


def test_a_body_that_fails_to_open_fails_in_the_call(loop: LoopThread) -> None:
    """So does one that was read before: httpx says so."""
    stream: Any = sent(content=(part for part in [b"x"]))
    assert Sending(loop, stream).result() == [b"x"]
    with pytest.raises(httpx.StreamConsumed):
        Sending(loop, stream).result()
