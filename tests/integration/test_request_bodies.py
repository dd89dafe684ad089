"""Request bodies over real sockets: sent again byte for byte, or sent once."""

import gzip
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from tests.integration.fault_server import Behaviour, FaultServer, answer, close, cut, falls_silent
from tests.integration.layered import impatient, layered, pool, shorten_collections
from tests.support import Events, IteratorBody
from walltrack import RetryStopped, StopReason

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:1"
PAYLOAD = bytes(range(256)) * 1024
BOUNDARY = {"content-type": "multipart/form-data; boundary=line"}

Body = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _short_collections() -> None:
    shorten_collections()


MakeBody = Callable[[str], Body]


@pytest.fixture
def body(tmp_path: Path) -> Iterator[MakeBody]:
    """Makes a fresh body of a kind; its files are closed after the test."""
    with ExitStack() as stack:
        yield lambda kind: (REPLAYABLE | ONE_SHOT)[kind](stack, tmp_path)


class Unseekable(io.RawIOBase):
    """Bytes that come only once, from a file that the operating system knows nothing of."""

    def __init__(self, payload: bytes) -> None:
        self._file = io.BytesIO(payload)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        return self._file.readinto(buffer)


def pipe(stack: ExitStack, payload: bytes) -> io.BufferedReader:
    """The open end of a pipe that holds `payload`."""
    end, other = os.pipe()
    os.write(other, payload)
    os.close(other)
    return stack.enter_context(os.fdopen(end, "rb"))


def real_file(stack: ExitStack, folder: Path) -> io.BufferedReader:
    """A file on disk, half read already: httpx sends files from their beginning."""
    path = folder / "payload.bin"
    path.write_bytes(PAYLOAD)
    file = stack.enter_context(path.open("rb"))
    file.seek(1000)
    return file


def multipart(file: object, **headers: str) -> Body:
    """A form with fields and a file; the boundary is always the same."""
    fields = {"name": "Grüße", "several": ["1", "2"]}
    return {"files": {"file": ("n.bin", file)}, "data": fields, "headers": BOUNDARY | headers}


def multipart_length(size: int) -> str:
    """The length of that form, for a file whose size httpx cannot know."""
    request = httpx.Request("PUT", NOWHERE, **multipart(bytes(size)))
    return request.headers["content-length"]


Make = Callable[[ExitStack, Path], Body]

REPLAYABLE: dict[str, Make] = {
    "nothing": lambda _stack, _folder: {},
    "bytes": lambda _stack, _folder: {"content": PAYLOAD},
    "text": lambda _stack, _folder: {"content": "Grüße, Welt"},
    "JSON": lambda _stack, _folder: {"json": {"welt": ["grüße", 1.5, None]}},
    "form": lambda _stack, _folder: {"data": {"a": "1 & 2", "b": ["x", "y"]}},
    "multipart of bytes": lambda _stack, _folder: multipart(PAYLOAD),
    "multipart in memory": lambda _stack, _folder: multipart(io.BytesIO(PAYLOAD)),
    "multipart from disk": lambda stack, folder: multipart(real_file(stack, folder)),
}


async def generated() -> AsyncIterator[bytes]:
    """An async generator."""
    for start in range(0, len(PAYLOAD), 2**16):
        yield PAYLOAD[start : start + 2**16]


PIPED = b"through a pipe" * 100

ONE_SHOT: dict[str, Make] = {
    "async generator": lambda _stack, _folder: {"content": generated()},
    "pipe": lambda stack, _folder: multipart(
        pipe(stack, PIPED), **{"content-length": multipart_length(len(PIPED))}
    ),
    "reader without seek": lambda _stack, _folder: multipart(Unseekable(PAYLOAD)),
    "reader that cannot seek as it says": lambda stack, _folder: multipart(
        stack.enter_context(gzip.GzipFile(fileobj=pipe(stack, gzip.compress(PIPED)))),
        **{"content-length": multipart_length(len(PIPED))},
    ),
}


async def sent_plainly(family: ModuleType, server: FaultServer, method: str, body: Body) -> bytes:
    """What a client without the layers sends."""
    async with family.AsyncClient(transport=pool(family=family)) as plain:
        await plain.request(method, server.url, **body)
    return server.seen.pop().body


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("kind", REPLAYABLE)
async def test_a_body_is_sent_byte_for_byte_on_every_attempt(
    family: ModuleType, server: FaultServer, body: MakeBody, kind: str, method: str
) -> None:
    """Each of four attempts carries the bytes and the headers that a plain client sends."""
    expected = await sent_plainly(family, server, method, body(kind))
    server.will(answer(503), close, cut(missing=8))
    async with layered(family=family) as client:
        response = await client.request(method, server.url, **body(kind))
    assert response.extensions["walltrack.attempts"] == 4
    assert [seen.body for seen in server.seen] == [expected] * 4
    assert all(seen.headers == server.seen[0].headers for seen in server.seen)


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("kind", ONE_SHOT)
async def test_a_body_that_can_be_read_once_is_sent_once(
    family: ModuleType,
    server: FaultServer,
    body: MakeBody,
    events: Events,
    *,
    kind: str,
    method: str,
) -> None:
    """It is sent once and completely; the response is returned, and an event says why."""
    expected = await sent_plainly(family, server, method, body(kind))
    server.will(answer(503, b"the real outcome"))
    async with layered(family=family, events=events) as client:
        response = await client.request(method, server.url, **body(kind))
    assert (response.status_code, response.content) == (503, b"the real outcome")
    assert [seen.body for seen in server.seen] == [expected]
    assert events == [_stopped(server, method, "503")]


@pytest.mark.parametrize("kind", ONE_SHOT)
@pytest.mark.parametrize(
    "ending",
    [
        pytest.param((close, "RemoteProtocolError"), id="closed"),
        pytest.param((cut(), "RemoteProtocolError"), id="short"),
        pytest.param((falls_silent(content_length="8"), "ReadTimeout"), id="silent"),
    ],
)
async def test_a_body_that_can_be_read_once_ends_with_the_real_exception(
    family: ModuleType,
    server: FaultServer,
    body: MakeBody,
    events: Events,
    *,
    kind: str,
    ending: tuple[Behaviour, str],
) -> None:
    """The exception of the only attempt is raised unchanged."""
    fault, error = ending
    server.will(fault)
    async with layered(family=family, events=events, timeout=impatient(family)) as client:
        with pytest.raises(getattr(family, error)):
            await client.put(server.url, **body(kind))
    assert len(server.seen) == 1
    assert events == [_stopped(server, "PUT", error)]


def _stopped(server: FaultServer, method: str, failure: str) -> RetryStopped:
    return RetryStopped(
        service=f"127.0.0.1:{server.port}",
        method=method,
        path="/",
        attempt=1,
        max_retries=3,
        failure=failure,
        stop_reason=StopReason.BODY_CANNOT_REPLAY,
    )


class Endless(IteratorBody, httpx2.AsyncByteStream):
    """Not a generator: httpcore would drop one half-way, and trio complains of that."""

    async def next_chunk(self) -> bytes:
        return PAYLOAD


async def test_a_large_upload_that_is_reset_in_the_middle_is_not_taken_up_again(
    family: ModuleType,
    events: Events,
) -> None:
    """A generator that was partly read is not sent again from that position."""
    connections = 0

    async def refuse_to_read_on(stream: anyio.abc.SocketStream) -> None:
        nonlocal connections
        connections += 1
        async with stream:
            await stream.receive(1000)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - this is not Django
        async with (
            anyio.create_task_group() as serving,
            layered(family=family, events=events) as client,
        ):
            serving.start_soon(listener.serve, refuse_to_read_on)
            headers = {"host": "127.0.0.1", "transfer-encoding": "chunked"}
            request = family.Request(
                "PUT", f"http://127.0.0.1:{port}", headers=headers, stream=Endless()
            )
            with pytest.raises(family.TransportError):
                await client.send(request)
            serving.cancel_scope.cancel()
    assert connections == 1
    assert [event.stop_reason for event in events if isinstance(event, RetryStopped)] == [
        StopReason.BODY_CANNOT_REPLAY
    ]


async def test_a_body_that_breaks_by_itself_is_the_callers_error(
    family: ModuleType, server: FaultServer, events: Events
) -> None:
    """An exception of the caller's generator is raised, and the request is not retried."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"the first half"
        raise ZeroDivisionError

    async with layered(family=family, events=events) as client:
        with pytest.raises(ZeroDivisionError):
            await client.put(server.url, content=broken())
        assert (await client.get(server.url)).status_code == 200
    assert [seen.method for seen in server.seen] == ["GET"]
    assert events.names == ["retry_stopped"]
    assert events.stops == ["error_not_retried"]


class FirstRefused(httpx.AsyncBaseTransport):
    """Sends the first request to a port on which nothing listens."""

    def __init__(self, family: ModuleType) -> None:
        self.inner = pool(family=family)
        self.nowhere = family.URL(NOWHERE)
        self.refused = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if not self.refused:
            self.refused += 1
            request.url = self.nowhere
        try:
            return await self.inner.handle_async_request(request)
        finally:
            request.url = url

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("kind", [*REPLAYABLE, *ONE_SHOT])
async def test_an_untouched_body_is_sent_after_a_refused_connection(
    family: ModuleType, server: FaultServer, body: MakeBody, kind: str, method: str
) -> None:
    """If its first byte was not read, any body can still be sent."""
    expected = await sent_plainly(family, server, method, body(kind))
    transport = FirstRefused(family)
    async with layered(transport, family=family) as client:
        response = await client.request(method, server.url, **body(kind))
    assert transport.refused == 1
    assert response.extensions["walltrack.attempts"] == 2
    assert [seen.body for seen in server.seen] == [expected]


async def test_an_untouched_body_is_sent_after_waiting_for_the_pool(
    family: ModuleType, server: FaultServer
) -> None:
    """A body that found no free connection is sent when there is one."""
    server.will(falls_silent(content_length=str(2**21)))
    held: list[httpx.Response] = []

    async def free_the_pool(_seconds: float) -> None:
        await held[0].aclose()

    async with layered(family=family, sleep=free_the_pool) as client:
        request = client.build_request("GET", server.url)
        held.append(await client.send(request, stream=True))
        timeout = family.Timeout(5.0, pool=0.05)
        response = await client.put(server.url, content=generated(), timeout=timeout)
    assert response.extensions["walltrack.attempts"] == 2
    assert server.seen[-1].body == PAYLOAD


async def test_the_same_generator_is_not_sent_empty_by_a_later_call(
    family: ModuleType, server: FaultServer
) -> None:
    """A generator that an earlier call used up is refused, as httpx refuses it."""
    body = generated()
    server.will(answer(503))
    async with layered(family=family) as client:
        request = client.build_request("PUT", server.url, content=body)
        await client.send(request)
        with pytest.raises(family.StreamConsumed):
            await client.send(request)
    assert [seen.body for seen in server.seen] == [PAYLOAD]


@pytest.mark.parametrize("base", ["own", "derived"])
async def test_a_stream_class_of_the_callers_own_is_sent_once(
    family: ModuleType, server: FaultServer, base: str
) -> None:
    """Synchronous and asynchronous at once, as httpx's own, it may still be readable only once."""

    class Once(family.SyncByteStream, family.AsyncByteStream):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            self._parts = iter([b"or", b"der"])

        def __iter__(self) -> Iterator[bytes]:
            return self._parts

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for part in self._parts:
                yield part

    class Derived(family.ByteStream):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__(b"")
            self._parts = iter([b"or", b"der"])

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for part in self._parts:
                yield part

    server.will(answer(503), answer(200))
    body = Once() if base == "own" else Derived()
    headers = {"host": "127.0.0.1", "content-length": "5"}
    request = family.Request("PUT", server.url, headers=headers, stream=body)
    async with layered(family=family) as client:
        response = await client.send(request)
    assert response.status_code == 503
    assert [seen.body for seen in server.seen] == [b"order"]
