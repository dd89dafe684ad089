"""The fakes of response bodies refuse what a connection refuses."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from tests.support import Body, ConnectionBody, Endless, IteratorBody, MisreadError

pytestmark = pytest.mark.anyio


def the_misread() -> str:
    """Return the one misuse that was noted, so that it does not fail the test."""
    (misread,) = ConnectionBody.misreads
    ConnectionBody.misreads.clear()
    return misread


@pytest.mark.parametrize("body", [Endless(), Body(b"one")], ids=["iterator", "generator"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_second_iteration_is_refused(body: ConnectionBody) -> None:
    """At once, whether or not the first one read anything."""
    aiter(body)
    with pytest.raises(MisreadError, match="iterated a second time"):
        aiter(body)
    assert the_misread().endswith("was iterated a second time")


class Waiting(IteratorBody):
    """A body that waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = anyio.Event()

    async def next_chunk(self) -> bytes:
        await self.may_go_on.wait()
        return b"x"


async def test_two_readers_at_once_are_refused() -> None:
    """The second raises, and the first gets its chunk."""
    body, got = Waiting(), []
    chunks = aiter(body)

    async def read() -> None:
        got.append(await anext(chunks))

    async with anyio.create_task_group() as readers:
        readers.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(MisreadError):
            await anext(chunks)
        body.may_go_on.set()
    assert got == [b"x"]
    assert the_misread() == "Waiting was read while another read was in progress"


async def test_two_readers_of_a_generator_at_once_are_refused() -> None:
    """Python itself refuses them, as where httpx reads from httpcore."""
    may_go_on = anyio.Event()

    class Generated(ConnectionBody):
        async def chunks(self) -> AsyncGenerator[bytes, None]:
            await may_go_on.wait()
            yield b"x"

    chunks = aiter(Generated())

    async def read_all() -> None:
        assert [chunk async for chunk in chunks] == [b"x"]

    async with anyio.create_task_group() as readers:
        readers.start_soon(read_all)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="already running"):
            await anext(chunks)
        may_go_on.set()


@pytest.mark.parametrize("body", ["iterator", "generator"])
async def test_reading_after_the_closing_is_refused(body: str) -> None:
    """Another request may use the connection by then."""
    closed = Endless() if body == "iterator" else Body(b"one", b"two")
    chunks = aiter(closed)
    await anext(chunks)
    await closed.aclose()
    with pytest.raises(MisreadError):
        await anext(chunks)
    assert the_misread().endswith("was read after it was closed")


async def test_an_iterator_may_be_iterated() -> None:
    """`async for` asks an iterator for one, too: that is no second iteration."""
    chunks = aiter(Body(b"one", b"two"))
    assert [chunk async for chunk in chunks] == [b"one", b"two"]
