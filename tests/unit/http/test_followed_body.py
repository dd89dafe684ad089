from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.support import Body
from walltrack.http.followed_body import FollowedBody
from walltrack.http.watched_body import WatchedBody

pytestmark = pytest.mark.anyio


class Told(list[str]):
    """Notes what happened, in order."""

    def that(self, what: str) -> Callable[[], Awaitable[None]]:
        """Return a function that notes `what` when it is awaited."""

        async def note() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.append(what)

        return note


async def test_it_follows_the_last_chunk() -> None:
    """After the callbacks of the end, and before the reader continues."""
    told = Told()
    body = FollowedBody(Body(b"a", b"b"), told.that("followed"))
    body.when_ended(lambda _error: told.append("ended"))
    assert [chunk async for chunk in body] == [b"a", b"b"]
    assert told == ["ended", "followed"]
    await body.aclose()
    assert told == ["ended", "followed"]


async def test_it_follows_an_error() -> None:
    """The error of the body is raised after the function was awaited."""
    told = Told()
    body = FollowedBody(Body(b"a", httpx.ReadError("broken")), told.that("followed"))
    with pytest.raises(httpx.ReadError):
        _ = [chunk async for chunk in body]
    assert told == ["followed"]


async def test_it_follows_closing() -> None:
    """Closing a body early is an end, too."""
    told = Told()
    body = FollowedBody(Body(b"a"), told.that("followed"))
    await body.aclose()
    assert told == ["followed"]


async def test_it_follows_reading_ahead() -> None:
    """But not while there is more to read."""
    told = Told()
    body = FollowedBody(Body(b"a", b"b" * 10, b"c"), told.that("followed"))
    assert not await body.read_ahead(5)
    assert told == []
    assert await body.read_ahead(50)
    assert told == ["followed"]


async def test_a_body_that_is_in_memory_stays_so() -> None:
    """It wraps a `WatchedBody` that was read ahead, which can be read again."""
    told = Told()
    inner = WatchedBody(Body(b"a"))
    assert await inner.read_ahead(5)
    body = FollowedBody(inner, told.that("followed"))
    assert [chunk async for chunk in body] == [b"a"]
    assert told == ["followed"]
    await body.aclose()
