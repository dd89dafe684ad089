from typing import Any

import httpx
import httpx2
import pytest

from tests.support import Body, Scripted, get
from walltrack.retry.sole import SoleRetrier

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("status", "mark"), [(200, None), (304, None), (404, "false"), (429, "false"), (503, "false")]
)
async def test_errors_are_marked_and_nothing_else_is(status: int, mark: str | None) -> None:
    """The response is the one that came, with its body still to be read."""
    response = httpx.Response(status, headers={"x-other": "1"}, stream=Body(b"why"))
    assert await SoleRetrier(Scripted(response)).handle_async_request(get()) is response
    assert (response.headers.get("x-should-retry"), response.headers["x-other"]) == (mark, "1")
    assert await response.aread() == b"why"


async def test_what_the_server_says_is_replaced() -> None:
    """It was obeyed here, as far as the policy and the budget go."""
    hint = httpx.Response(503, headers={"x-should-retry": "true"})
    response = await SoleRetrier(Scripted(hint)).handle_async_request(get())
    assert response.headers.get_list("x-should-retry") == ["false"]


async def test_exceptions_pass_unchanged_and_families_are_told_apart() -> None:
    """There is no header on an exception; a transport of the other family is explained."""
    with pytest.raises(httpx.ReadError):
        await SoleRetrier(Scripted(httpx.ReadError("reset"))).handle_async_request(get())
    inner: Any = httpx2.AsyncHTTPTransport()
    with pytest.raises(TypeError, match="transport inside is one of httpx2"):
        await SoleRetrier(inner).handle_async_request(get())


def test_its_repr_shows_what_is_inside() -> None:
    """It has the inner transport, as the repr of every layer."""
    assert repr(SoleRetrier(Scripted(200))) == "SoleRetrier(Scripted())"
