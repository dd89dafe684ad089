from collections.abc import AsyncGenerator

import anyio
import httpx
import pytest

from tests.support import URL, Body, ConnectionBody, IteratorBody, get
from walltrack.http.release import MAX_DRAIN_BYTES, discard, release

pytestmark = pytest.mark.anyio

LONG = b"x" * (MAX_DRAIN_BYTES + 1)
CHUNK = b"x" * 1000


class Silent(Body):
    """A body that sends its chunks and then nothing more, but does not end."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        async for chunk in super().chunks():
            yield chunk
        await anyio.sleep_forever()


class Watched(Body):
    """A body that notes whether it was read to its end."""

    ended = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        async for chunk in super().chunks():
            yield chunk
        self.ended = True


class Relentless(IteratorBody):
    """A body without an end whose chunks never have to be waited for."""

    async def next_chunk(self) -> bytes:
        self.read += len(CHUNK)
        return CHUNK


class SlowToClose(Body):
    """A body whose closing takes a moment, in which it could be cancelled."""

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        await super().aclose()


def discarded(body: ConnectionBody, **headers: str) -> httpx.Response:
    """A response that will not be read."""
    return httpx.Response(
        503, headers={k.replace("_", "-"): v for k, v in headers.items()}, stream=body
    )


async def test_a_short_body_is_read_to_its_end() -> None:
    """A connection whose response was read completely is reused."""
    body = Body(b"sorry", b"!")
    await release(get(), discarded(body))
    assert (body.read, body.closes) == (6, 1)


@pytest.mark.parametrize(
    "length", [str(MAX_DRAIN_BYTES), "", "-1", "many"], ids=["limit", "empty", "negative", "word"]
)
async def test_a_body_is_read_unless_its_length_forbids(length: str) -> None:
    """The limit itself is allowed, and an unreadable length is ignored."""
    body = Body(b"sorry")
    await release(get(), discarded(body, content_length=length))
    assert (body.read, body.closes) == (5, 1)


async def test_a_body_known_to_be_long_is_closed_unread() -> None:
    """A new connection costs less than reading it."""
    body = Body(LONG)
    await release(get(), discarded(body, content_length=str(len(LONG))))
    assert (body.read, body.closes) == (0, 1)


async def test_a_body_of_just_the_limit_is_read_to_its_end() -> None:
    """The limit itself is allowed, also without a length in the headers."""
    body = Watched(LONG[:-1])
    await release(get(), discarded(body))
    assert (body.ended, body.closes) == (True, 1)


async def test_a_body_that_turns_out_long_is_read_no_further() -> None:
    """An endless response without a length costs at most the limit and one chunk."""
    body = Body(LONG, b"more")
    await release(get(), discarded(body))
    assert (body.read, body.closes) == (len(LONG), 1)


async def test_a_body_that_drips_delays_no_caller() -> None:
    """Reading is limited by time as well as by size."""
    body = Silent(b"s")
    with anyio.fail_after(5):
        await release(get(), discarded(body), max_seconds=0.01)
    assert (body.read, body.closes) == (1, 1)


@pytest.mark.parametrize("length", [str(len(LONG)), str(10**12)])
async def test_the_answer_to_a_head_is_read_whatever_length_it_tells(length: str) -> None:
    """The length is that of the body for a GET; here there is no body to wait for."""
    body = Watched()
    await release(httpx.Request("HEAD", URL), discarded(body, content_length=length))
    assert (body.ended, body.closes) == (True, 1)


# httpx's generator around a body that cannot be cancelled is dropped half-way.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_a_body_that_never_waits_is_read_no_further() -> None:
    """It cannot be cancelled and does not let a timer fire, so reading stops by itself."""
    body = Relentless()
    await release(get(), discarded(body))
    assert MAX_DRAIN_BYTES < body.read <= 2 * MAX_DRAIN_BYTES + len(CHUNK)
    assert body.closes == 1


@pytest.mark.parametrize(
    "error",
    [httpx.ReadError("reset"), httpx.ReadTimeout("late"), OSError("gone"), KeyError("a bug")],
    ids=lambda error: type(error).__name__,
)
async def test_a_body_that_breaks_off_is_closed_without_a_word(error: Exception) -> None:
    """Errors of a response that no caller wants are ignored."""
    body = Body(b"so", error)
    await release(get(), discarded(body))
    assert (body.read, body.closes) == (2, 1)


async def test_a_response_that_was_read_is_left_alone() -> None:
    """There is nothing to drain, and a second closing does not count twice."""
    body = Body(b"sorry")
    response = discarded(body)
    await response.aread()
    await release(get(), response)
    assert body.closes == 1


@pytest.mark.parametrize("chunks", [(b"so",), (b"so", httpx.ReadError("reset"))])
@pytest.mark.parametrize("error", [httpx.CloseError("stuck"), OSError("gone"), KeyError("a bug")])
async def test_what_goes_wrong_in_closing_is_of_no_interest(
    chunks: tuple[bytes | Exception, ...], error: Exception
) -> None:
    """The call continues, whatever happened to the connection."""

    class Stuck(Body):
        async def aclose(self) -> None:
            await super().aclose()
            raise error

    body = Stuck(*chunks)
    await release(get(), discarded(body))
    assert body.closes == 1


@pytest.mark.parametrize("body_type", [Silent, SlowToClose])
async def test_cancelling_stops_the_reading_but_never_the_closing(body_type: type[Body]) -> None:
    """A cancelled caller is released at once, and leaves no connection open."""
    body = body_type(b"s")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await release(get(), discarded(body))
        pytest.fail("the cancellation was swallowed")  # pragma: no cover
    assert scope.cancelled_caught
    assert body.closes == 1


@pytest.mark.parametrize(
    "error", [None, httpx.CloseError("stuck"), OSError("gone"), KeyError("a bug")]
)
async def test_a_response_that_no_caller_gets_is_closed_unread(error: Exception | None) -> None:
    """Discarding reads nothing, and an error in closing does not hide an earlier error."""

    class Closing(SlowToClose):
        async def aclose(self) -> None:
            await super().aclose()
            if error is not None:
                raise error

    body = Closing(b"sorry")
    await discard(discarded(body))
    assert (body.read, body.closes) == (0, 1)


async def test_a_cancellation_does_not_stop_discarding() -> None:
    """If the caller is cancelled while a response is discarded, the connection is still closed."""
    body = SlowToClose(b"sorry")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await discard(discarded(body))
    assert body.closes == 1
