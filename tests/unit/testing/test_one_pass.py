from collections.abc import AsyncGenerator

import anyio
import httpx
import pytest

from tests.support import Body, ConnectionBody, Endless, IteratorBody, without_gc
from walltrack.core import family
from walltrack.testing.one_pass import OnePass

pytestmark = pytest.mark.anyio

HOMES = pytest.mark.parametrize("home", family.FAMILIES, ids=lambda home: home.__name__)


class Ending(ConnectionBody):
    """A body that notes that its iteration has ended, and never sends its second chunk."""

    ended = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            await anyio.sleep_forever()
        finally:
            self.ended = True


async def test_a_body_passes_once_untouched() -> None:
    """Chunk by chunk, empty ones included, and its closing with it."""
    body = Body(b"one", b"", b"two")
    once = OnePass(body)
    assert [chunk async for chunk in once] == [b"one", b"", b"two"]
    await once.aclose()
    assert body.closes == 1


def test_it_is_of_every_family() -> None:
    """A client takes a stream of its own family only."""
    assert all(isinstance(OnePass(Body()), kind) for kind in family.ASYNC_STREAMS)


@HOMES
async def test_a_second_iteration_is_refused(home: object) -> None:
    """Also one that begins while the first is in the middle; the first goes on."""
    once = OnePass(Endless(), home)  # type: ignore[arg-type]  # a module
    chunks = aiter(once)
    assert await anext(chunks) == b"x"
    with pytest.raises(home.StreamConsumed):  # type: ignore[attr-defined]
        aiter(once)
    assert await anext(aiter(chunks)) == b"x"


async def test_a_second_reader_at_the_same_time_is_refused() -> None:
    """As by anyio's sockets; the first reader gets its chunk."""
    may_go_on, got = anyio.Event(), []

    class Waiting(IteratorBody):
        async def next_chunk(self) -> bytes:
            await may_go_on.wait()
            return b"x"

    chunks = aiter(OnePass(Waiting()))

    async def read() -> None:
        got.append(await anext(chunks))

    async with anyio.create_task_group() as readers:
        readers.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await anext(chunks)
        may_go_on.set()
    assert got == [b"x"]


@HOMES
async def test_a_read_after_the_closing_is_refused(home: object) -> None:
    """The connection may serve another request by then."""
    once = OnePass(Body(b"one", b"two"), home)  # type: ignore[arg-type]  # a module
    chunks = aiter(once)
    await anext(chunks)
    await once.aclose()
    with pytest.raises(home.StreamClosed):  # type: ignore[attr-defined]
        await anext(chunks)


async def test_closing_ends_the_iteration() -> None:
    """A generator that is left in the middle would end only when it is collected."""
    body = Ending()
    once = OnePass(body)
    await anext(aiter(once))
    with without_gc():
        await once.aclose()
        assert body.ended


async def test_closing_leaves_a_reader_of_another_task_alone() -> None:
    """A generator that runs cannot be ended from outside."""
    body = Ending()
    once = OnePass(body)
    chunks = aiter(once)
    await anext(chunks)

    async def read() -> None:
        await anext(chunks)

    async with anyio.create_task_group() as readers:
        readers.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await once.aclose()
        assert not body.ended
        readers.cancel_scope.cancel()
    assert body.ended


async def test_the_iteration_ends_although_closing_fails() -> None:
    """What closing raises comes out all the same."""

    class Stuck(Ending):
        async def aclose(self) -> None:
            raise httpx.CloseError("stuck")

    body = Stuck()
    once = OnePass(body)
    await anext(aiter(once))
    with pytest.raises(httpx.CloseError):
        await once.aclose()
    assert body.ended
