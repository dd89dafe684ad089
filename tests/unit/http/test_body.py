from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx
import pytest

from tests.support import Body, ConnectionBody, Endless, get
from walltrack import ResponseTooLargeError
from walltrack.http.body import (
    SMALL_BODY_BYTES,
    ReadAhead,
    content_length,
    reading_ahead,
    take_body,
)

asynchronous = pytest.mark.anyio

ERRORS = [httpx.ReadError("reset"), httpx.RemoteProtocolError("short"), ZeroDivisionError("a bug")]


class Silent(Body):
    """A body that never continues, and whose closing takes a moment."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield b"so"
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        await super().aclose()


def whole() -> httpx.Request:
    """A request whose caller wants the whole body."""
    return get(extensions={"walltrack.whole_body": True})


def response_with(
    body: ConnectionBody | None = None, status: int = 200, **headers: str
) -> httpx.Response:
    """A response whose body is still to be read."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, stream=body or Body(b"so"))


def belongs_to_attempt(
    request: httpx.Request, response: httpx.Response, mode: ReadAhead = "small"
) -> bool:
    """Whether the body would be read inside the attempt."""
    reading = reading_ahead(request, response, mode, 1)
    if reading is not None:
        reading.close()
    return reading is not None


async def raw(response: httpx.Response) -> list[bytes]:
    """The chunks of a body as they come over the wire."""
    stream: Any = response.stream
    return [chunk async for chunk in stream]


# The stated length


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("0", 0),
        ("5", 5),
        ("007", 7),
        (str(10**14), 10**14),
        ("", None),
        ("-1", None),
        ("+5", None),
        ("1.5", None),
        ("many", None),
        ("00000000000104857600", 100 * 2**20),
        ("5, 5", None),
    ],
)
def test_a_length_is_what_its_header_says(value: str, length: int | None) -> None:
    """It is a whole number of bytes, or None if it is not plausible."""
    assert content_length(response_with(content_length=value)) == length


def test_a_digit_that_is_no_decimal_is_no_length() -> None:
    """A superscript two is a digit, but `int` does not accept it."""
    response = httpx.Response(200, headers=[(b"content-length", b"\xb2")], stream=Body())
    assert content_length(response) is None


def test_no_length_is_none() -> None:
    """A body that ends with the connection states no length."""
    assert content_length(response_with()) is None


def test_an_absurd_length_is_a_long_one() -> None:
    """Four hundred digits take no time to read, and are not a small body."""
    length = content_length(response_with(content_length="9" * 400))
    assert length is not None
    assert length > SMALL_BODY_BYTES


# Whether it belongs to the attempt


@pytest.mark.parametrize(
    ("length", "belongs"),
    [("0", True), (str(SMALL_BODY_BYTES), True), (str(SMALL_BODY_BYTES + 1), False), ("", False)],
    ids=["empty", "limit", "longer", "unknown"],
)
def test_a_small_body_belongs_to_the_attempt(length: str, *, belongs: bool) -> None:
    """Up to 64 KiB by its Content-Length; any other body is streamed."""
    assert belongs_to_attempt(get(), response_with(content_length=length)) is belongs


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("length", ["", str(SMALL_BODY_BYTES + 1)])
def test_a_caller_that_wants_the_whole_body_has_it_read(length: str, *, whole: bool) -> None:
    """Whatever its length is; if the caller passes False, it is streamed."""
    request = get(extensions={"walltrack.whole_body": whole})
    assert belongs_to_attempt(request, response_with(content_length=length)) is whole


@asynchronous
async def test_a_body_that_was_read_has_no_reader() -> None:
    """There is nothing left to read."""
    response = response_with(content_length="2")
    await response.aread()
    await take_body(whole(), response, "small", 100)
    assert response.content == b"so"


def test_another_protocol_is_no_body() -> None:
    """After 101 the connection uses the other protocol until it is closed."""
    response = response_with(status=101, content_length="2")
    assert not belongs_to_attempt(get(extensions={"walltrack.whole_body": True}), response)


@pytest.mark.parametrize("value", ["text/event-stream", "Text/Event-Stream; charset=utf-8"])
@pytest.mark.parametrize("extensions", [{}, {"walltrack.whole_body": True}])
def test_a_stream_of_events_belongs_to_its_reader(
    value: str, extensions: dict[str, object]
) -> None:
    """Whatever its length and the caller's option are: events are read as they arrive."""
    response = response_with(content_length="2", content_type=value)
    assert not belongs_to_attempt(get(extensions=extensions), response)


@pytest.mark.parametrize("value", ["application/json", "text/event-streams", "text/plain"])
def test_another_type_of_content_is_read(value: str) -> None:
    """A media type that only resembles that of an event stream is read."""
    assert belongs_to_attempt(get(), response_with(content_length="2", content_type=value))


def test_a_call_that_is_not_retried_reads_nothing_ahead() -> None:
    """Nothing could be repeated, so its caller gets every chunk when it arrives."""
    request = get(extensions={"walltrack.retry": False})
    assert not belongs_to_attempt(request, response_with(content_length="2"))


@pytest.mark.parametrize(
    ("mode", "length", "wanted", "belongs"),
    [
        ("small", "", None, False),
        ("small", "5", None, True),
        ("whole", "", None, True),
        ("whole", str(SMALL_BODY_BYTES + 1), None, True),
        ("stream", "5", None, False),
        ("stream", "5", True, True),
        ("whole", "5", False, False),
        ("small", "5", False, False),
    ],
)
def test_a_transport_says_which_bodies_belong_and_a_call_has_the_last_word(
    mode: ReadAhead, length: str, *, wanted: bool | None, belongs: bool
) -> None:
    """`body=` applies to all calls, "walltrack.whole_body" to one."""
    request = get(extensions={} if wanted is None else {"walltrack.whole_body": wanted})
    response = response_with(content_length=length)
    assert belongs_to_attempt(request, response, mode) is belongs


@asynchronous
@pytest.mark.parametrize(
    ("extensions", "kind"), [({}, "text/event-stream"), ({"walltrack.retry": False}, "text/plain")]
)
async def test_a_body_wanted_whole_that_streams_is_still_limited(
    extensions: dict[str, object], kind: str
) -> None:
    """It is returned as it arrives, and ended when it exceeds the limit."""
    body = Endless()
    extensions = {"walltrack.whole_body": True, **extensions}
    response = response_with(body, content_type=kind)
    await take_body(get(extensions=extensions), response, "small", 3)
    assert body.read == 0
    with pytest.raises(ResponseTooLargeError, match="max_response_bytes=3"):
        await raw(response)
    assert (body.read, body.closes) == (4, 1)


@asynchronous
async def test_a_limited_stream_within_its_limit_comes_through() -> None:
    """Exactly the allowed number of bytes is accepted, and closing reaches the connection."""
    body = Body(b"so", b"so")
    response = response_with(body, content_type="text/event-stream")
    await take_body(whole(), response, "small", 4)
    assert await raw(response) == [b"so", b"so"]
    await response.aclose()
    assert body.closes == 1


# Reading


@asynchronous
async def test_reading_changes_nothing_but_where_the_body_comes_from() -> None:
    """Headers, extensions and raw chunks stay the same, and the caller still has to read."""
    body = Body(b"one", b"two")
    response = response_with(body, x="1", content_encoding="identity")
    headers, extensions = response.headers.copy(), {"http_version": b"HTTP/2"}
    response.extensions = extensions

    await take_body(whole(), response, "small", 100)

    assert (body.read, body.closes) == (6, 0)
    assert not response.is_closed
    assert (response.headers, response.extensions) == (headers, {"http_version": b"HTTP/2"})
    assert [chunk async for chunk in response.aiter_raw()] == [b"one", b"two"]
    assert response.num_bytes_downloaded == 6
    assert body.closes == 1


@asynchronous
async def test_a_body_of_just_the_limit_is_read() -> None:
    """The limit itself is allowed."""
    response = response_with(Body(b"abc", b"de"))
    await take_body(whole(), response, "small", 5)
    assert await raw(response) == [b"abc", b"de"]


@asynchronous
async def test_a_body_beyond_the_limit_is_refused_and_closed() -> None:
    """Reading stops, and the error has the limit and what to do."""
    body, request = Endless(), whole()
    with pytest.raises(ResponseTooLargeError) as raised:
        await take_body(request, response_with(body), "small", 5)
    assert (body.read, body.closes) == (6, 1)
    assert raised.value.request is request
    assert str(raised.value) == (
        "api.test: the response is longer than max_response_bytes=5; "
        "raise the limit, or stream the response"
    )
    assert repr(raised.value) == "ResponseTooLargeError('api.test', max_bytes=5)"


@asynchronous
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_body_that_breaks_off_is_closed(error: Exception) -> None:
    """The same exception propagates, and the connection is released."""
    body = Body(b"so", error)
    response = response_with(body)
    with pytest.raises(type(error)) as raised:
        await take_body(whole(), response, "small", 100)
    assert raised.value is error
    assert body.closes == 1


@asynchronous
async def test_cancelling_stops_the_reading_but_never_the_closing() -> None:
    """A cancelled caller is released at once, and leaves no connection open."""
    body = Silent()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await take_body(whole(), response_with(body), "small", 100)
        pytest.fail("the cancellation was swallowed")  # pragma: no cover
    assert scope.cancelled_caught
    assert body.closes == 1


@asynchronous
async def test_a_body_that_turns_out_longer_than_it_said_streams_on() -> None:
    """With a wrong length a streaming caller still gets every chunk once."""
    chunks = [b"x" * SMALL_BODY_BYTES, b"more", b"and more"]
    body = Body(*chunks)
    response = response_with(body, content_length="5")

    await take_body(get(), response, "small", 1)

    assert body.closes == 0
    assert await raw(response) == chunks


@asynchronous
async def test_a_small_body_knows_no_limit_for_a_streaming_caller() -> None:
    """`max_response_bytes` applies to callers that want the whole body."""
    response = response_with(Body(b"soso", b"soso"), content_length="8")
    await take_body(get(), response, "small", 4)
    assert await raw(response) == [b"soso", b"soso"]


@asynchronous
async def test_a_body_that_belongs_to_its_reader_is_left_alone() -> None:
    """It is streamed unchanged."""
    body = Body(b"so")
    response = response_with(body)
    await take_body(get(), response, "small", 100)
    assert response.stream is body


@asynchronous
async def test_closing_never_replaces_a_cancellation() -> None:
    """The caller gets the cancellation, not the error of closing."""

    class Stuck(Silent):
        async def aclose(self) -> None:
            raise httpx.CloseError("stuck")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await take_body(whole(), response_with(Stuck()), "small", 100)
    assert scope.cancelled_caught


@asynchronous
async def test_a_body_beyond_the_limit_leaves_no_generator_behind() -> None:
    """Its iteration ends at once, not when it is garbage-collected."""
    body = Silent()
    with pytest.raises(ResponseTooLargeError):
        await take_body(whole(), response_with(body), "small", 1)
    assert body.closes == 1
