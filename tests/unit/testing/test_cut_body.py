from collections.abc import AsyncGenerator

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.support import Body, ConnectionBody, Endless
from walltrack.testing.cut_body import CutBody
from walltrack.testing.one_pass import OnePass

pytestmark = pytest.mark.anyio


def broken() -> Exception:
    """What is raised at the cut."""
    return httpx.RemoteProtocolError("cut")


async def read(body: CutBody) -> list[bytes]:
    """The chunks that come before the cut."""
    chunks: list[bytes] = []

    async def read_all() -> None:
        async for chunk in body:
            chunks.append(chunk)  # noqa: PERF401 - they must not be lost with the exception

    with pytest.raises(httpx.RemoteProtocolError, match="cut"):
        await read_all()
    return chunks


@pytest.mark.parametrize(
    ("max_bytes", "chunks"),
    [
        (0, []),
        (2, [b"on"]),
        (3, [b"one"]),
        (4, [b"one", b"t"]),
        (6, [b"one", b"two"]),
        (100, [b"one", b"two"]),
    ],
)
async def test_so_much_is_passed_on_and_no_more(max_bytes: int, chunks: list[bytes]) -> None:
    """In the chunks in which it comes; a body that is shorter breaks off at its end."""
    body = Body(b"one", b"two")
    assert await read(CutBody(body, max_bytes, broken)) == chunks
    assert body.closes == 1


async def test_nothing_is_read_that_is_not_passed_on() -> None:
    """An endless body is left where it is cut."""
    body = Endless()
    assert await read(CutBody(body, 3, broken)) == [b"x"] * 3
    assert body.read == 3
    assert body.closes == 1


async def test_a_body_that_never_waits_is_left_in_the_end() -> None:
    """A body without any wait cannot be cancelled, but is abandoned all the same."""

    class Restless(Endless):
        async def next_chunk(self) -> bytes:
            self.read += 1
            return b"x"

    body = Restless()
    assert await read(CutBody(body, 3, broken)) == [b"x"] * 3
    assert body.read < 100_000


async def test_what_was_being_read_finishes_at_the_cut() -> None:
    """A generator left half-way would finish only when it is collected."""
    finished = []

    class Generated(ConnectionBody):
        async def chunks(self) -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield b"chunk"
                    await anyio.lowlevel.checkpoint()
            finally:
                finished.append(True)

    assert await read(CutBody(Generated(), 7, broken)) == [b"chunk", b"ch"]
    assert finished == [True]


async def test_it_stays_broken() -> None:
    """Every later read raises again; none says that the body has ended."""
    body = Body(b"one")
    chunks = aiter(CutBody(body, 1, broken))
    assert await anext(chunks) == b"o"
    for _ in range(3):
        with pytest.raises(httpx.RemoteProtocolError, match="cut"):
            await anext(chunks)
    assert body.closes == 1


async def test_its_iterator_is_an_iterable() -> None:
    """A client that iterates the iterator again goes on where it stood."""
    chunks = aiter(CutBody(Endless(), 100, broken))
    assert await anext(chunks) == b"x"
    assert await anext(aiter(chunks)) == b"x"


async def test_a_second_iteration_is_one_of_the_body() -> None:
    """What the body refuses is refused."""
    body = CutBody(OnePass(Body(b"one")), 100, broken)
    aiter(body)
    with pytest.raises(httpx.StreamConsumed):
        aiter(body)


async def test_a_body_that_breaks_by_itself_does() -> None:
    """It fails before the cut, with its own exception."""
    body = CutBody(Body(b"one", httpx.ReadError("by itself")), 100, broken)
    with pytest.raises(httpx.ReadError, match="by itself"):
        _ = [chunk async for chunk in body]


async def test_what_goes_wrong_in_closing_does_not_hide_the_cut() -> None:
    """The reader gets the error of the cut."""

    class Stubborn(Body):
        async def aclose(self) -> None:
            raise OSError("will not close")

    assert await read(CutBody(Stubborn(b"one"), 1, broken)) == [b"o"]


async def test_closing_early_closes_the_body() -> None:
    """A reader that goes before the cut sees nothing of it."""
    body = Endless()
    cut = CutBody(body, 4, broken)
    assert await anext(aiter(cut)) == b"x"
    await cut.aclose()
    await cut.aclose()
    assert body.closes == 1


async def test_a_reader_can_be_cancelled_while_it_waits() -> None:
    """The cancellation goes through; there is no cut."""
    body = CutBody(Endless(), 3, broken)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anext(aiter(body))
    assert scope.cancelled_caught


async def test_the_closing_at_the_cut_is_shielded() -> None:
    """A cancellation that comes in the middle of it waits for its end."""
    closed: list[bool] = []

    class Slow(Body):
        async def aclose(self) -> None:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
            closed.append(True)

    with anyio.CancelScope() as scope:
        await read(CutBody(Slow(b"one"), 0, broken))
        await anyio.lowlevel.checkpoint()
    assert closed == [True]
    assert scope.cancelled_caught
