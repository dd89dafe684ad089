from collections.abc import AsyncGenerator, AsyncIterator

import anyio
import anyio.lowlevel
import httpcore2
import httpx
import httpx2
import pytest

from tests.support import get
from walltrack.http.core_body import CoreBody

pytestmark = pytest.mark.anyio


class Owner:
    """A pool, with the functions that a body calls when it fails and when it ends."""

    def __init__(self) -> None:
        self.closed = False
        self.ended: list[CoreBody] = []

    def explain(self, request: httpx.Request, error: Exception) -> Exception | None:
        if isinstance(error, httpcore2.ReadError):
            return httpx.ReadError(f"{request.method}: {error}")
        return None

    def closed_error(self, request: httpx.Request) -> Exception:
        return httpx.CloseError(request.method)

    async def body_ended(self, body: CoreBody) -> None:
        await anyio.lowlevel.checkpoint()
        self.ended.append(body)


class Chunks:
    """A stream of httpcore2: iterated once, closed once, and then unusable."""

    def __init__(self, *chunks: bytes | BaseException, stuck: bool = False) -> None:
        self.chunks = chunks
        self.stuck = stuck
        self.iterated = self.closed = self.finished = 0
        self.waits = anyio.Event()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        self.iterated += 1
        try:
            for chunk in self.chunks:
                if isinstance(chunk, BaseException):
                    raise chunk
                yield chunk
            if self.stuck:
                self.waits.set()
                await anyio.sleep_forever()
        finally:
            self.finished += 1

    async def aclose(self) -> None:
        self.closed += 1
        await anyio.lowlevel.checkpoint()


def body(chunks: object, owner: Owner) -> CoreBody:
    """The body of a response."""
    response = httpcore2.Response(200, content=chunks)  # type: ignore[arg-type]  # a stream
    return CoreBody(get(), response, owner)


@pytest.mark.parametrize("kind", [httpx.AsyncByteStream, httpx2.AsyncByteStream])
def test_a_client_of_either_family_takes_it(kind: type) -> None:
    """Clients check the class of the stream."""
    assert isinstance(body(Chunks(), Owner()), kind)


async def test_a_body_is_read_once_and_closed_once() -> None:
    """Its owner is notified at the closing, by when the connection is free."""
    owner, chunks = Owner(), Chunks(b"one", b"", b"two")
    read = body(chunks, owner)
    assert [chunk async for chunk in read] == [b"one", b"", b"two"]
    assert [chunk async for chunk in read] == []
    assert owner.ended == []
    await read.aclose()
    await read.aclose()
    assert (chunks.iterated, chunks.closed, chunks.finished) == (1, 1, 1)
    assert owner.ended == [read]


async def test_a_body_that_is_left_early_leaves_no_generator() -> None:
    """An abandoned generator would end only when it is garbage-collected."""
    owner, chunks = Owner(), Chunks(b"one", b"two")
    read = body(chunks, owner)
    assert await anext(aiter(read)) == b"one"
    await read.aclose()
    assert (chunks.closed, chunks.finished) == (1, 1)
    assert owner.ended == [read]


async def test_a_body_that_was_never_read_is_closed() -> None:
    """It is not read first."""
    owner, chunks = Owner(), Chunks(b"one")
    await body(chunks, owner).aclose()
    assert (chunks.iterated, chunks.closed) == (0, 1)
    assert len(owner.ended) == 1


async def test_an_iterator_of_another_kind_is_closed_too() -> None:
    """A mock may use one that is not a generator."""

    class Plain:
        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            await anyio.lowlevel.checkpoint()
            return b"more"

    owner = Owner()
    read = body(Plain(), owner)
    assert await anext(aiter(read)) == b"more"
    await read.aclose()
    assert owner.ended == [read]


async def test_errors_are_those_of_the_clients_family() -> None:
    """Their cause is httpcore2's exception; an unknown exception is raised unchanged."""
    known, strange = httpcore2.ReadError("cut"), RuntimeError("defect")
    with pytest.raises(httpx.ReadError, match="GET: cut") as caught:
        [chunk async for chunk in body(Chunks(b"one", known), Owner())]
    assert caught.value.__cause__ is known
    with pytest.raises(RuntimeError) as raised:
        [chunk async for chunk in body(Chunks(strange), Owner())]
    assert raised.value is strange
    assert raised.value.__cause__ is None


async def test_a_cancelled_read_is_cancelled() -> None:
    """It can be closed afterwards."""
    owner, chunks = Owner(), Chunks(b"one", stuck=True)
    read = body(chunks, owner)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext_of_all, read)
            await chunks.waits.wait()
            scope.cancel()
    assert scope.cancelled_caught
    await read.aclose()
    assert owner.ended == [read]


async def anext_of_all(read: CoreBody) -> None:
    """Read until the end."""
    async for _ in read:
        pass


async def test_a_body_can_be_closed_while_it_is_read() -> None:
    """The reader ends by itself, since its connection is closed."""
    owner, chunks = Owner(), Chunks(b"one", stuck=True)
    read = body(chunks, owner)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anext_of_all, read)
        await chunks.waits.wait()
        await read.aclose()
        assert (chunks.closed, chunks.finished) == (1, 0)
        tasks.cancel_scope.cancel()


async def test_what_is_left_of_a_body_is_not_read_after_the_closing() -> None:
    """Otherwise the body would seem to be complete."""
    owner = Owner()
    read = body(Chunks(b"one", b"two"), owner)
    chunks = aiter(read)
    assert await anext(chunks) == b"one"
    owner.closed = True
    await read.aclose()
    with pytest.raises(httpx.CloseError, match="GET"):
        await anext(chunks)


async def test_a_body_that_cannot_be_closed_has_ended() -> None:
    """Its owner is notified, its generator ends, and the exception propagates."""

    class Stuck(Chunks):
        async def aclose(self) -> None:
            await super().aclose()
            raise OSError("cannot close")

    owner, chunks = Owner(), Stuck(b"one", b"two")
    read = body(chunks, owner)
    await anext(aiter(read))
    with pytest.raises(OSError, match="cannot close"):
        await read.aclose()
    assert chunks.finished == 1
    assert owner.ended == [read]
