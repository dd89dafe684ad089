import gzip
from collections.abc import Callable

import httpx
import pytest

from tests.support import Body, Endless, get
from walltrack.core.classification import UNCLASSIFIED, Classification, Classifier, Outcome
from walltrack.http.body import SMALL_BODY_BYTES
from walltrack.http.classify import attempt_of, classified, classified_error

pytestmark = pytest.mark.anyio

FINAL = Classification(retry=False)


class Asked(list[Outcome]):
    """A classifier that notes the outcomes it gets."""

    def __init__(self, said: Classification | None = FINAL) -> None:
        self.classifier = Classifier([self.note], self.fail)
        self._said = said

    def note(self, outcome: Outcome) -> Classification | None:
        self.append(outcome)
        return self._said

    def fail(self, error: Exception) -> None:
        raise AssertionError from error

    @property
    def contents(self) -> list[bytes | None]:
        return [outcome.content for outcome in self]


def answered(status: int, body: httpx.AsyncByteStream, **headers: str) -> httpx.Response:
    """A response whose body is still to be read."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, stream=body)


async def raw(response: httpx.Response) -> bytes:
    """The rest of the body in its raw form."""
    return b"".join([chunk async for chunk in response.aiter_raw()])


@pytest.mark.parametrize(
    ("status", "headers", "extensions", "is_seen"),
    [
        (429, {}, {}, True),
        (400, {"content_length": "2"}, {}, True),
        (503, {"content_length": str(SMALL_BODY_BYTES + 1)}, {}, False),
        (503, {"content_type": "text/event-stream"}, {}, False),
        (429, {}, {"walltrack.retry": False}, True),
        (200, {"content_length": "2"}, {}, True),
        (200, {}, {}, False),
        (200, {}, {"walltrack.whole_body": True}, True),
        (200, {"content_length": "2"}, {"walltrack.whole_body": False}, False),
        (200, {"content_length": "2"}, {"walltrack.retry": False}, False),
        (101, {"content_length": "2"}, {}, False),
    ],
)
async def test_which_bodies_are_seen(
    status: int, headers: dict[str, str], extensions: dict[str, object], *, is_seen: bool
) -> None:
    """Those of error responses, and those that belong to the attempt; all can be read whole."""
    asked, body = Asked(), Body(b"so")
    response = answered(status, body, **headers)
    assert await classified(asked.classifier, get(extensions=extensions), response) is FINAL
    assert asked.contents == [b"so" if is_seen else None]
    assert body.read == (2 if is_seen else 0)
    assert await raw(response) == b"so"


async def test_a_long_body_is_read_no_further_than_needed() -> None:
    """The classifier does not see it, and it is streamed."""
    asked, body = Asked(), Endless()
    response = answered(503, body)
    await classified(asked.classifier, get(), response)
    assert asked.contents == [None]
    assert body.read == SMALL_BODY_BYTES + 1
    await response.aclose()


async def test_a_compressed_body_is_seen_decoded_and_comes_through_as_it_was() -> None:
    """The caller's client decodes it itself."""
    asked, packed = Asked(), gzip.compress(b"so")
    response = answered(429, Body(packed), content_encoding="gzip")
    await classified(asked.classifier, get(), response)
    assert asked.contents == [b"so"]
    assert await raw(response) == packed


async def test_a_body_that_cannot_be_decoded_is_not_seen() -> None:
    """The caller's client raises the error."""
    asked = Asked()
    await classified(
        asked.classifier, get(), answered(429, Body(b"no gzip"), content_encoding="gzip")
    )
    assert asked.contents == [None]


@pytest.mark.parametrize(
    ("response", "content"),
    [(httpx.Response(429, content=b"so"), b"so"), (httpx.Response(429, stream=Body()), b"")],
)
async def test_a_body_that_was_read_already_is_seen(
    response: httpx.Response, content: bytes
) -> None:
    """For example that of a mock that holds it in memory."""
    asked = Asked()
    await response.aread()
    await classified(asked.classifier, get(), response)
    assert asked.contents == [content]


async def test_a_response_that_was_closed_unread_has_no_body_to_see() -> None:
    """The body cannot be read any more."""
    asked, response = Asked(), answered(429, Body(b"so"))
    await response.aclose()
    await classified(asked.classifier, get(), response)
    assert asked.contents == [None]


async def test_layers_that_share_a_classifier_ask_it_once() -> None:
    """Another classifier is called separately."""
    asked, other, response = Asked(), Asked(None), answered(429, Body(b"so"))
    for _ in range(3):
        assert await classified(asked.classifier, get(), response) is FINAL
    assert len(asked) == 1
    assert await classified(other.classifier, get(), response) is UNCLASSIFIED
    assert len(other) == 1


def stop(_: Outcome) -> None:
    """End the program."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("last", "function", "error"),
    [
        (httpx.ReadError("reset"), lambda _: None, httpx.ReadError),
        (b"so", stop, KeyboardInterrupt),
    ],
)
async def test_whatever_is_raised_closes_the_response(
    last: bytes | Exception, function: Callable[[Outcome], None], error: type[BaseException]
) -> None:
    """A body that breaks off is the attempt's outcome; an interrupt ends the program."""
    body = Body(b"so", last)
    with pytest.raises(error):
        await classified(Classifier([function], print), get(), answered(429, body))
    assert body.closes == 1


def test_exceptions_are_classified_too() -> None:
    """The outcome has the number of the attempt, and no response."""
    asked, error = Asked(), httpx.ReadTimeout("late")
    request = get(extensions={"walltrack.attempt": 3})
    assert classified_error(asked.classifier, request, error) is FINAL
    (outcome,) = asked
    assert (outcome.error, outcome.attempt, outcome.response) == (error, 3, None)
    assert attempt_of(get()) == 1
