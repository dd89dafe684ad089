import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import httpx2
import pytest

from tests.support import URL, Body, post
from walltrack.http.requests import (
    OneShotStream,
    can_replay,
    copy_of,
    read_once,
)


async def from_async_generator() -> AsyncIterator[bytes]:
    """A body that an asynchronous client can send, once."""
    yield b"once"


def from_generator() -> Iterator[bytes]:
    """A body by a synchronous generator."""
    yield b"once"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": b"bytes"},
        {"content": "text"},
        {"json": {"a": 1}},
        {"data": {"a": "1"}},
        {"files": {"f": b"file"}},
        {"data": {"a": "1"}, "files": {"f": ("name", b"file")}},
    ],
    ids=["none", "bytes", "text", "json", "form", "file", "form and file"],
)
def test_a_body_that_is_held_replays(body: dict[str, Any]) -> None:
    """Bytes, JSON, forms and multipart can be sent more than once."""
    assert can_replay(post(**body))


@pytest.mark.parametrize("body", [from_async_generator, from_generator])
def test_a_body_that_is_generated_does_not_replay(body: Any) -> None:  # noqa: ANN401 - of two kinds
    """An iterator can be read once, so a second attempt would send nothing."""
    assert not can_replay(post(content=body()))


@pytest.mark.anyio
async def test_a_body_that_can_be_read_once_can_be_sent_until_somebody_began() -> None:
    """Until its first chunk is read, nothing of it is lost."""
    request = post(content=from_async_generator())
    assert isinstance(request.stream, httpx.AsyncByteStream)
    request.stream = stream = OneShotStream(request.stream)
    assert can_replay(request)

    assert [chunk async for chunk in stream] == [b"once"]

    assert not can_replay(request)


@pytest.mark.anyio
async def test_closing_a_body_that_can_be_read_once_closes_it() -> None:
    """The wrapper around the body passes the closing on."""
    body = Body(b"x")
    await OneShotStream(body).aclose()
    assert body.closes == 1


class Pipe(io.BytesIO):
    """A file that cannot seek."""

    def seekable(self) -> bool:
        return False


class WithoutSeekable:
    """A file by httpx's definition, without `seekable`."""

    def read(self, size: int = -1) -> bytes:
        del size
        return b""


class WithSeek(WithoutSeekable):
    """The same, with `seek`."""

    def seek(self, offset: int) -> int:
        return offset


@pytest.mark.parametrize(
    ("file", "replays"),
    [(io.BytesIO(b"f"), True), (Pipe(b"f"), False), (WithoutSeekable(), False), (WithSeek(), True)],
    ids=["file", "pipe", "reads only", "seeks"],
)
def test_multipart_replays_if_its_files_can_go_back(file: Any, replays: bool) -> None:  # noqa: ANN401, FBT001 - columns
    """A pipe in a form would be empty the second time."""
    stream = httpx.Request("POST", URL, files={"f": b"x"}).stream
    assert isinstance(stream, httpx.AsyncByteStream)
    stream.fields[0].file = file  # type: ignore[attr-defined]  # of httpx's multipart stream
    assert can_replay(httpx.Request("POST", URL, stream=stream)) is replays


def test_a_copy_has_headers_and_extensions_of_its_own() -> None:
    """What a layer sets on the copy does not appear on the caller's request."""
    request = post(headers={"a": "1"}, extensions={"mine": 1})

    clone = copy_of(request)
    clone.headers["b"] = "2"
    clone.extensions["theirs"] = 2

    assert clone.headers["a"] == "1"
    assert clone.extensions == {"mine": 1, "theirs": 2}
    assert "b" not in request.headers
    assert request.extensions == {"mine": 1}


def test_a_copy_says_the_same() -> None:
    """Method, URL, headers and body are those of the request."""
    request = post(headers={"a": "1"}, json={"x": 1})

    clone = copy_of(request)

    assert (clone.method, clone.url, clone.headers) == ("POST", request.url, request.headers)
    assert clone.content == request.content
    assert clone.stream is request.stream


@pytest.mark.anyio
@pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])
async def test_a_body_is_sent_once_or_as_often_as_it_can_be_read(home: Any) -> None:  # noqa: ANN401 - a module
    """A body in memory stays as it is; any other raises httpx's own exception the second time."""
    held = home.Request("POST", URL, content=b"bytes")
    for _ in range(2):
        read_once(held)
        assert [chunk async for chunk in held.stream] == [b"bytes"]
    generated = home.Request("POST", URL, content=from_async_generator())
    read_once(generated)
    read_once(generated)
    assert [chunk async for chunk in generated.stream] == [b"once"]
    with pytest.raises(home.StreamConsumed):
        read_once(generated)
