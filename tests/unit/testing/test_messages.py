import zlib
from typing import Any

import httpcore
import httpx
import pytest

from tests.support import Body, get
from walltrack.core import family
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import CircuitBreakerOpenError, TimeLimitExceededError
from walltrack.core.extensions import DELIVERY
from walltrack.testing.messages import (
    bare_response,
    check_class,
    error_for,
    fresh_response,
    is_used_up,
)

pytestmark = pytest.mark.anyio

HOMES = pytest.mark.parametrize("home", family.FAMILIES, ids=lambda home: home.__name__)


@HOMES
async def test_a_bare_response_is_still_to_be_read(home: Any) -> None:  # noqa: ANN401 - a module
    """As one from a connection is: open, of the family of the request, its length told."""
    response = bare_response(home.Request("GET", "https://api.test"), 503)
    assert isinstance(response, home.Response)
    assert not response.is_closed
    assert response.headers["content-length"] == "0"
    assert await response.aread() == b""
    assert response.is_closed


@pytest.mark.parametrize("status", [101, 199, 204, 304])
def test_a_status_without_a_body_has_no_length(status: int) -> None:
    """RFC 9110, section 8.6, forbids it."""
    assert "content-length" not in bare_response(get(), status).headers


@HOMES
async def test_a_response_in_memory_is_given_anew_each_time(home: Any) -> None:  # noqa: ANN401 - a module
    """Any number of times, in the family of the request, with all that it says."""
    original = httpx.Response(
        201,
        headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")],
        content="schön".encode("latin-1"),
        extensions={"http_version": b"HTTP/2"},
        default_encoding="latin-1",
    )
    for _ in range(2):
        fresh = fresh_response(home.Request("GET", "https://api.test"), original)
        assert isinstance(fresh, home.Response)
        assert not fresh.is_closed
        await fresh.aread()
        assert (fresh.status_code, fresh.text) == (201, "schön")
        assert fresh.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert fresh.http_version == "HTTP/2"
        fresh.extensions["mine"] = True
    assert "mine" not in original.extensions


async def test_an_encoded_body_is_given_as_it_is_sent() -> None:
    """What its reader decodes is what its maker encoded."""
    packed = zlib.compress(b"antarctica")
    original = httpx.Response(200, headers={"content-encoding": "deflate"}, content=packed)
    assert await fresh_response(get(), original).aread() == b"antarctica"


@HOMES
async def test_a_stream_goes_through(home: Any) -> None:  # noqa: ANN401 - a module
    """A client of either family takes it, reads it and closes it."""
    body = Body(b"one", b"two")
    request = home.Request("GET", "https://api.test")
    fresh = fresh_response(request, httpx.Response(200, stream=body))
    assert isinstance(fresh.stream, home.AsyncByteStream)
    assert await fresh.aread() == b"onetwo"
    assert body.closes == 1


@HOMES
@pytest.mark.parametrize("step", [200, httpx.Response(200, content=b"one")])
async def test_a_body_can_be_read_once(home: Any, step: int | httpx.Response) -> None:  # noqa: ANN401 - a module
    """As over a connection, also where it is empty or held in memory."""
    request = home.Request("GET", "https://api.test")
    response = (
        bare_response(request, step) if isinstance(step, int) else fresh_response(request, step)
    )
    body: Any = response.stream
    assert b"".join([chunk async for chunk in body]) in (b"", b"one")
    with pytest.raises(home.StreamConsumed):
        aiter(body)


async def test_a_body_that_was_streamed_is_used_up() -> None:
    """One in memory never is."""
    streamed = httpx.Response(200, stream=Body(b"one"))
    assert not is_used_up(streamed)
    await streamed.aread()
    assert is_used_up(streamed)
    assert not is_used_up(httpx.Response(200, content=b"one"))


@HOMES
@pytest.mark.parametrize("error", [httpx.ConnectTimeout, httpx.ConnectTimeout("too slow")])
def test_an_error_is_of_the_familys_own(home: Any, error: Any) -> None:  # noqa: ANN401 - a module
    """It is of the request's family, and has the request."""
    request = home.Request("GET", "https://api.test")
    made = error_for(request, error, "scripted")
    assert isinstance(made, home.ConnectTimeout)
    assert str(made) == ("scripted ConnectTimeout" if isinstance(error, type) else "too slow")
    assert made.request is request


def test_an_instance_stays_itself() -> None:
    """Its cause is kept, its traceback is not: it would grow each time."""
    error = httpx.ReadError("gone")
    cause = httpcore.ReadError()
    try:
        raise error from cause
    except httpx.ReadError:
        made = error_for(get(), error, "scripted")
    assert made is error
    assert made.__cause__ is cause
    assert made.__traceback__ is None


@pytest.mark.skipif(len(family.FAMILIES) == 1, reason="httpx2 is not installed")
def test_a_relative_keeps_the_cause() -> None:
    """What a layer concludes from the cause holds in either family."""
    error = httpx.ConnectError("certificate")
    error.__cause__ = OSError("self-signed")
    made = error_for(family.FAMILIES[1].Request("GET", "https://api.test"), error, "scripted")
    assert made is not error
    assert made.__cause__ is error.__cause__


@pytest.mark.parametrize(
    ("error", "proof"),
    [
        (httpx.ConnectError, Delivery.NOT_SENT),
        (httpx.ConnectTimeout("slow"), Delivery.NOT_SENT),
        (httpx.PoolTimeout, Delivery.NOT_SENT),
        (httpx.ReadTimeout, None),
        (httpx.RemoteProtocolError, None),
        (ValueError, None),
    ],
)
def test_it_states_what_the_error_proves(
    error: Exception | type[Exception], proof: Delivery | None
) -> None:
    """As if httpcore had raised it; what was stated of an earlier attempt is gone."""
    request = get(extensions={DELIVERY: Delivery.ANSWERED})
    error_for(request, error, "scripted")
    assert request.extensions.get(DELIVERY) == proof


def test_other_errors_are_made_with_a_text() -> None:
    """A text that says where it comes from; an instance is left as it is."""
    made = error_for(get(), OSError, "injected")
    assert type(made) is OSError
    assert str(made) == "injected OSError"
    status_error = httpx.HTTPStatusError("500", request=get(), response=httpx.Response(500))
    for home in family.FAMILIES:
        request = home.Request("GET", "https://api.test")
        assert error_for(request, status_error, "scripted") is status_error


def test_a_rejection_tells_of_the_request() -> None:
    """Rejections of this library have texts of their own."""
    made = error_for(get(), CircuitBreakerOpenError, "scripted")
    assert isinstance(made, CircuitBreakerOpenError)
    assert made.service == "api.test"


@pytest.mark.parametrize(
    "kind", [httpx.HTTPStatusError, TimeLimitExceededError, UnicodeDecodeError]
)
def test_a_class_that_needs_arguments_is_refused(kind: type[Exception]) -> None:
    """It could not be raised later either."""
    with pytest.raises(TypeError, match=rf"steps\[0\] must be an exception: {kind.__name__}"):
        check_class("steps[0]", kind)


def test_a_class_that_needs_none_passes() -> None:
    """No error is raised."""
    check_class("errors", httpx.ReadError)
