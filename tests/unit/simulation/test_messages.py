import asyncio
import math
from typing import TYPE_CHECKING

import httpx
import pytest

from walltrack.simulation.clock import run_virtually
from walltrack.simulation.messages import (
    cut_response,
    endless_response,
    short_response,
    timeout_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST = httpx.Request("GET", "http://api.test/", extensions={"timeout": {"read": 5.0}})


def test_a_timeout_is_what_the_request_says() -> None:
    """There is none where it says nothing."""
    assert timeout_of(REQUEST, "read") == 5.0
    assert timeout_of(REQUEST, "connect") == math.inf
    assert timeout_of(httpx.Request("GET", "http://api.test/"), "read") == math.inf


def test_a_short_response_has_still_to_be_read() -> None:
    """As one that came over a connection."""

    async def main() -> bytes:
        response = short_response(503)
        assert not response.is_stream_consumed
        assert response.status_code == 503
        return await response.aread()

    assert run_virtually(main) == b"ok"


def test_a_response_can_say_when_to_come_back() -> None:
    """And no other one says so then."""
    assert short_response(429, retry_after=7).headers["retry-after"] == "7"
    assert "retry-after" not in short_response(429).headers


def test_an_endless_body_arrives_at_a_byte_a_second() -> None:
    """There is always more of it."""

    async def main() -> float:
        stream = endless_response().stream
        assert isinstance(stream, httpx.AsyncByteStream)
        chunks: AsyncIterator[bytes] = aiter(stream)
        for _ in range(10):
            assert await anext(chunks) == b"."
        return asyncio.get_running_loop().time()

    assert run_virtually(main) == 9.0


def test_a_cut_body_breaks_off() -> None:
    """As httpx reports a connection that ends too early."""

    async def main() -> None:
        await cut_response(REQUEST).aread()

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        run_virtually(main)
