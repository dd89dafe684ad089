from collections.abc import Awaitable, Callable
from types import ModuleType

import httpx
import httpx2
import pytest

from tests.support import Body, get
from walltrack import Delivery, RetryTransport, TransportClosedError
from walltrack.http.given_pool import guarded_pool

pytestmark = pytest.mark.anyio

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])


class Pool(httpx.AsyncHTTPTransport):
    """A pool that calls a function for its response, and counts how often it is closed."""

    def __init__(self, answer: Callable[[], Awaitable[httpx.Response]]) -> None:
        self._answer = answer
        self.closings = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        return await self._answer()

    async def aclose(self) -> None:
        self.closings += 1


@each_family
async def test_a_pool_of_httpx_is_guarded_and_shows_itself(home: ModuleType) -> None:
    """The repr shows the transport that the user gave; any other transport is used as it is."""
    pool = guarded_pool(home.AsyncHTTPTransport())
    mock = home.MockTransport(lambda _: home.Response(200))
    assert (repr(pool), guarded_pool(mock)) == ("AsyncHTTPTransport()", mock)
    assert pool is not mock
    assert repr(RetryTransport(home.AsyncHTTPTransport())).startswith(
        "RetryTransport(AsyncHTTPTransport(), "
    )


async def test_a_response_that_arrives_after_the_closing_is_closed() -> None:
    """The caller gets the error that the transport was closed, and the pool is closed again."""
    body = Body(b"too late")

    async def answer() -> httpx.Response:
        await guarded.aclose()
        return httpx.Response(200, stream=body)

    pool = Pool(answer)
    guarded = guarded_pool(pool)
    with pytest.raises(TransportClosedError) as caught:
        await guarded.handle_async_request(get())
    assert caught.value.delivery is Delivery.UNCERTAIN
    assert body.closes
    assert pool.closings == 2


async def test_a_pool_that_is_used_again_stays_open() -> None:
    """A late response of an older call does not close the connections of newer calls."""
    bodies = []

    async def answer() -> httpx.Response:
        bodies.append(Body(b"hello"))
        if len(bodies) == 1:
            await guarded.aclose()
            newer = await guarded.handle_async_request(get())
            assert await newer.aread() == b"hello"
            return httpx.Response(200, stream=bodies[0])
        return httpx.Response(200, stream=bodies[-1])

    pool = Pool(answer)
    guarded = guarded_pool(pool)
    with pytest.raises(TransportClosedError):
        await guarded.handle_async_request(get())
    assert bodies[0].closes
    assert pool.closings == 1


@pytest.mark.parametrize(
    ("error", "delivery"),
    [(httpx.ConnectError, Delivery.NOT_SENT), (httpx.ReadError, Delivery.UNCERTAIN)],
)
async def test_a_call_that_the_closing_broke_says_so(
    error: type[httpx.TransportError], delivery: Delivery
) -> None:
    """The original error is the cause, and tells whether the request was sent."""

    async def answer() -> httpx.Response:
        await guarded.aclose()
        raise error("broken")

    guarded = guarded_pool(Pool(answer))
    with pytest.raises(TransportClosedError) as caught:
        await guarded.handle_async_request(get())
    assert caught.value.delivery is delivery
    assert isinstance(caught.value.__cause__, error)


async def test_a_failure_before_the_closing_stays_as_it_is() -> None:
    """The exception of an open pool is raised unchanged."""

    async def answer() -> httpx.Response:
        raise httpx.ReadError("broken")

    with pytest.raises(httpx.ReadError, match="broken"):
        await guarded_pool(Pool(answer)).handle_async_request(get())
