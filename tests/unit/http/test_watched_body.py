import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import cast

import anyio
import httpx
import pytest

from tests.support import Body, ConnectionBody, IteratorBody
from walltrack.http.watched_body import WatchedBody
from walltrack.http.watched_body import watched as body_of

pytestmark = pytest.mark.anyio


class Ends(list[BaseException | None]):
    """Notes how a stream ended."""

    def watch(self, body: httpx.AsyncByteStream) -> WatchedBody:
        return WatchedBody(body, self.append)


class Endless(ConnectionBody):
    """A body of which the second chunk never comes."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield b"first"
        await anyio.sleep_forever()


class Abandonable(IteratorBody):
    """A body that needs no clean-up when its reader stops in the middle."""

    async def next_chunk(self) -> bytes:
        return b"more"


async def read(stream: httpx.AsyncByteStream) -> list[bytes]:
    """The chunks of `stream`."""
    return [chunk async for chunk in stream]


async def test_the_body_passes_untouched() -> None:
    """Chunks pass unchanged, empty ones included, and the end is reported after the last."""
    ends = Ends()
    stream = ends.watch(Body(b"one", b"", b"two"))

    assert await read(stream) == [b"one", b"", b"two"]
    assert ends == [None]


async def test_chunks_come_as_they_are_sent() -> None:
    """No chunk is read before it is asked for, and nothing is reported before the end."""
    ends, body = Ends(), Body(b"one", b"two")

    async for chunk in ends.watch(body):
        assert chunk == (b"one" if body.read == 3 else b"two")
        assert ends == []


async def test_a_body_that_breaks_off_is_reported_with_the_error() -> None:
    """The same exception that reading raised is reported, and reaches the reader."""
    ends, error = Ends(), httpx.ReadError("broken")
    stream = ends.watch(Body(b"one", error))

    with pytest.raises(httpx.ReadError) as raised:
        await read(stream)

    assert raised.value is error
    assert ends == [error]


async def test_a_cancelled_reader_is_reported_as_such() -> None:
    """A cancellation during a read is reported as such, not as an early closing."""
    ends = Ends()
    stream = ends.watch(Endless())

    with anyio.CancelScope() as scope:
        async for _ in stream:
            scope.cancel()
    await stream.aclose()

    (end,) = ends
    assert isinstance(end, anyio.get_cancelled_exc_class())


async def test_closing_early_is_an_end_without_error() -> None:
    """A reader that closes before the end is assumed to have what it needs."""
    ends, body = Ends(), Body(b"one", b"two")
    stream = ends.watch(body)

    await stream.aclose()

    assert ends == [None]
    assert (body.read, body.closes) == (0, 1)


async def test_a_reader_that_goes_away_tells_nothing_until_it_closes() -> None:
    """When a reader stops in the middle nothing is reported; its closing is."""
    ends = Ends()
    stream = ends.watch(Abandonable())

    await anext(aiter(stream))
    assert ends == []

    await stream.aclose()
    assert ends == [None]


async def test_a_step_that_is_dropped_tells_nothing_until_the_body_is_closed() -> None:
    """A task that is dropped in the middle of a read is neither a success nor a failure."""

    class Waiting(Abandonable):
        async def next_chunk(self) -> bytes:
            await Pause()
            raise AssertionError("the step was continued")  # pragma: no cover

    class Pause:
        def __await__(self) -> Generator[None, None, None]:
            yield

    ends = Ends()
    step = cast("Coroutine[None, None, bytes]", anext(aiter(ends.watch(Waiting()))))
    step.send(None)
    step.close()
    assert ends == []


@pytest.mark.parametrize("last", [b"end", httpx.ReadError("broken")], ids=["whole", "broken"])
async def test_the_end_is_reported_once(last: bytes | Exception) -> None:
    """Closing and reading again report nothing more, and the stream is closed once."""
    ends, body = Ends(), Body(last)
    stream = ends.watch(body)

    with contextlib.suppress(httpx.ReadError):
        await read(stream)
    for _ in range(2):
        await stream.aclose()
        with contextlib.suppress(httpx.StreamClosed):
            assert await read(stream) == []

    assert ends == [None if isinstance(last, bytes) else last]
    assert body.closes == 1


async def test_the_end_is_reported_although_closing_fails() -> None:
    """The error of closing the inner stream is raised after the end was reported."""

    class Stuck(Body):
        async def aclose(self) -> None:
            raise httpx.CloseError("stuck")

    ends = Ends()
    with pytest.raises(httpx.CloseError):
        await ends.watch(Stuck(b"one")).aclose()

    assert ends == [None]


@pytest.mark.anyio
async def test_a_listener_that_raises_at_the_end_leaves_no_connection() -> None:
    """After reading ahead no caller has the body yet, so no caller could close it."""

    def refuse(_: BaseException | None) -> None:
        raise ArithmeticError

    body = Body(b"one")
    with pytest.raises(ArithmeticError):
        await WatchedBody(body, refuse).read_ahead(100)
    assert body.closes == 1


async def test_a_body_that_was_read_ahead_comes_out_in_the_same_chunks() -> None:
    """They can be read repeatedly, empty ones included; its reader closes it."""
    body = Body(b"one", b"", b"two")
    watched = WatchedBody(body)

    assert await watched.read_ahead(100)

    for _ in range(2):
        assert [chunk async for chunk in watched] == [b"one", b"", b"two"]
    assert (body.read, body.closes) == (6, 0)
    await watched.aclose()
    assert body.closes == 1


@pytest.mark.anyio
async def test_reading_ahead_tells_how_it_ended() -> None:
    """The end is reported once, with the error if there was one; reading again reports nothing."""
    ends: list[tuple[str, BaseException | None]] = []
    broken = httpx.ReadError("reset")
    good = WatchedBody(Body(b"x"), lambda *end: ends.append(end), "good")
    bad = WatchedBody(Body(b"x", broken), lambda *end: ends.append(end), "bad")

    await good.read_ahead(100)
    await good.aclose()
    with pytest.raises(httpx.ReadError):
        await bad.read_ahead(100)

    assert ends == [("good", None), ("bad", broken)]


@pytest.mark.anyio
async def test_reading_ahead_no_further_than_it_may_leaves_the_rest() -> None:
    """The body stays open, and nothing is reported until its reader finishes."""
    ends: list[BaseException | None] = []
    body = Body(b"one", b"two", b"three")
    watched = WatchedBody(body, ends.append)

    assert not await watched.read_ahead(4)
    assert (body.closes, ends) == (0, [])

    assert [chunk async for chunk in watched] == [b"one", b"two", b"three"]
    assert ends == [None]


@pytest.mark.anyio
async def test_a_body_that_never_waits_is_let_go_of_all_the_same() -> None:
    """It cannot be cancelled, so there is a limited number of tries to end its iteration."""

    class Restless(IteratorBody):
        """An iterator, which needs no clean-up when it is dropped."""

        async def next_chunk(self) -> bytes:
            return b"x"

    body = Restless()
    watched = WatchedBody(body)
    assert not await watched.read_ahead(1)

    await watched.abandon()

    assert body.closes == 1


class Ending(ConnectionBody):
    """A body that notes the end of its iteration, and waits without end before its last chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = 0
        self.waits = anyio.Event()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            self.waits.set()
            await anyio.sleep_forever()
        finally:
            self.ended += 1


async def test_closing_early_ends_the_iteration() -> None:
    """No unfinished generator is left: trio warns of one, and httpx2 leaves none."""
    body = Ending()
    watched = WatchedBody(body)
    await anext(aiter(watched))

    for _ in range(2):
        await watched.aclose()
        assert body.ended == 1
    with pytest.raises(httpx.StreamClosed):
        await anext(watched)


async def test_closing_leaves_another_task_to_its_reading() -> None:
    """A running generator cannot be ended from outside; the task that reads it keeps waiting."""
    body = Ending()
    watched = WatchedBody(body)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, watched)
        await body.waits.wait()
        await watched.aclose()
        assert body.ended == 0
        tasks.cancel_scope.cancel()
    assert body.ended == 1


async def test_an_iterator_that_is_the_body_itself_is_closed_once() -> None:
    """Its own `aclose` was called already."""
    body = Abandonable()
    watched = WatchedBody(body)
    await anext(aiter(watched))

    await watched.aclose()

    assert body.closes == 1


async def test_closings_are_reported_although_the_iteration_fails() -> None:
    """The exception of a generator that is ended is raised after all callbacks were called."""

    class Bad(ConnectionBody):
        async def chunks(self) -> AsyncGenerator[bytes, None]:
            try:
                yield b"one"
            finally:
                raise ZeroDivisionError

    told: list[str] = []
    watched = WatchedBody(Bad())
    watched.when_closed(lambda: told.append("closed"))
    await anext(aiter(watched))

    with pytest.raises(ZeroDivisionError):
        await watched.aclose()

    assert told == ["closed"]


async def test_closing_ends_what_was_read_ahead_in_part() -> None:
    """There is no reader that would end the iteration before it is garbage-collected."""
    ended = []

    class Long(ConnectionBody):
        async def chunks(self) -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield b"more"
            finally:
                ended.append("iteration")

    body = WatchedBody(Long())
    assert not await body.read_ahead(4)
    await body.aclose()
    assert ended == ["iteration"]


# One pass, one owner


class OnePass(IteratorBody):
    """A body by an iterator that needs no clean-up when it is dropped; it counts its reads."""

    def __init__(self, *chunks: bytes) -> None:
        super().__init__()
        self._chunks = iter(chunks)

    async def next_chunk(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        self.read += 1
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


@pytest.mark.parametrize("limits", [(100, 100), (1, 100), (1, 4, 100), (1, 1, 1, 4)])
async def test_reading_ahead_again_goes_on_where_it_was(limits: tuple[int, ...]) -> None:
    """However often and how far layers read ahead, the reader gets every chunk once."""
    watched = WatchedBody(OnePass(b"one", b"two", b"three"))
    for limit in limits:
        assert await watched.read_ahead(limit) is (limit == 100)
    assert await read(watched) == [b"one", b"two", b"three"]


async def test_reading_ahead_begins_behind_what_the_reader_has_taken() -> None:
    """Chunks that were returned are not returned again."""
    watched = WatchedBody(OnePass(b"one", b"two", b"three"))
    assert not await watched.read_ahead(4)
    chunks = aiter(watched)
    assert await anext(chunks) == b"one"
    assert await watched.read_ahead(100)
    assert await read(watched) == [b"two", b"three"]


async def test_a_second_reader_of_a_stream_goes_on_and_repeats_nothing() -> None:
    """Only a body that is completely in memory can be read again from its beginning."""
    watched = WatchedBody(OnePass(b"one", b"two"))
    assert await anext(aiter(watched)) == b"one"
    assert await read(watched) == [b"two"]


async def test_a_body_that_is_known_to_be_long_is_not_read_to_find_that_out() -> None:
    """What was read ahead already exceeds the limit, so nothing more is read."""
    stream = OnePass(b"one", b"two")
    watched = WatchedBody(stream)
    assert not await watched.read_ahead(1)
    assert not await watched.read_ahead(2)
    assert stream.read == 1


async def test_a_callback_for_the_closing_of_a_closed_body_is_called_at_once() -> None:
    """A hedge keeps a body in memory and closes it before an outer limit sets its callback."""
    watched, closed = WatchedBody(OnePass(b"one")), list[str]()
    await watched.read_ahead(100)
    await watched.aclose()
    watched.when_closed(lambda: closed.append("later"))
    assert closed == ["later"]


async def test_a_limit_holds_for_a_body_in_memory_too() -> None:
    """A layer with a smaller limit than the inner layer finds the body too long."""
    watched = WatchedBody(OnePass(b"one", b"two"))
    assert await watched.read_ahead(6)
    assert await watched.read_ahead(6)
    assert not await watched.read_ahead(5)


async def test_a_body_in_memory_is_read_from_there_after_it_was_closed() -> None:
    """The connection is closed, and is not needed."""
    watched = WatchedBody(OnePass(b"one", b"two"))
    await watched.read_ahead(100)
    await watched.aclose()
    assert watched.in_memory
    assert await read(watched) == [b"one", b"two"]


async def test_a_body_that_was_closed_is_not_read() -> None:
    """Its connection belongs to another request: reading raises, and reads nothing."""
    stream = OnePass(b"one")
    watched = WatchedBody(stream)
    await watched.aclose()
    with pytest.raises(httpx.StreamClosed):
        await read(watched)
    with pytest.raises(httpx.StreamClosed):
        await watched.read_ahead(100)
    assert stream.read == 0


async def test_a_body_that_broke_off_does_not_seem_to_have_ended() -> None:
    """A generator that raised is exhausted; as a normal end, that would shorten the body."""
    watched = WatchedBody(Body(b"one", httpx.ReadError("reset")))
    with pytest.raises(httpx.ReadError):
        await read(watched)
    with pytest.raises(httpx.StreamClosed):
        await read(watched)


async def test_a_read_that_was_thrown_away_does_not_seem_to_be_the_end() -> None:
    """The generator ended with the step that was dropped, the body did not."""

    class Waiting(OnePass):
        async def __anext__(self) -> bytes:
            await asyncio.sleep(0)
            raise StopAsyncIteration  # as a generator does that was closed in the middle

    watched = WatchedBody(Waiting())
    step = cast("Coroutine[None, None, bytes]", anext(aiter(watched)))
    step.send(None)
    step.close()
    with pytest.raises(httpx.StreamClosed):
        await read(watched)


# One wrapper for all layers


def test_layers_share_one_wrapper() -> None:
    """An outer layer finds the wrapper of the inner one, and adds none."""
    response = httpx.Response(200, stream=Body(b"x"))
    assert body_of(response) is body_of(response)
    assert isinstance(response.stream, WatchedBody)


async def test_the_end_is_reported_to_every_layer_in_order() -> None:
    """Inner layers are notified first, each with its own information."""
    told: list[object] = []
    body = WatchedBody(Body(b"x"), lambda *end: told.append(end), 1)
    body.when_ended(lambda *end: told.append(end), 2, "two")
    body.when_ended(lambda *end: told.append(end), 3)
    await read(body)
    assert told == [(1, None), (2, "two", None), (3, None)]


async def test_the_end_is_reported_although_another_layer_raises() -> None:
    """No permit is lost if a listener of another layer ends the program."""
    told: list[object] = []

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    body = WatchedBody(Body(b"x"), stop)
    body.when_ended(told.append)
    body.when_closed(lambda: told.append("closed"))
    with pytest.raises(KeyboardInterrupt):
        await body.aclose()
    assert told == [None, "closed"]


async def test_the_closing_is_reported_although_another_layer_raises() -> None:
    """Each place in a limit is given back."""
    told: list[object] = []

    def stop() -> None:
        raise KeyboardInterrupt

    body = WatchedBody(Body(b"x"))
    body.when_closed(stop)
    body.when_closed(lambda: told.append("closed"))
    with pytest.raises(KeyboardInterrupt):
        await body.aclose()
    assert told == ["closed"]


async def test_a_callback_after_the_end_is_called_at_once() -> None:
    """A body that an inner layer has read ahead is a success for the outer layers."""
    told: list[object] = []
    body = WatchedBody(Body(b"x"))
    await body.read_ahead(100)
    body.when_ended(lambda *end: told.append(end), "outer")
    assert told == [("outer", None)]


async def test_a_body_shows_how_far_it_has_come() -> None:
    """Its repr is for debugging, and contains no data of it."""
    body = WatchedBody(Body(b"hunter2"))
    assert repr(body) == "<WatchedBody open>"
    await body.read_ahead(100)
    assert repr(body) == "<WatchedBody in memory>"
    closed = WatchedBody(Body())
    await closed.aclose()
    assert repr(closed) == "<WatchedBody ended>"
