from typing import Any

import httpx
import pytest

from tests.support import Body, Clock, IteratorBody, Scripted, Step, get
from tests.timers import Timers
from walltrack import TimeLimitExceededError, TimeoutTransport
from walltrack.timeout.body import LimitedBody

pytestmark = pytest.mark.anyio


@pytest.fixture
def timers(clock: Clock) -> Timers:
    """Limits that strike when the test moves the clock."""
    return Timers(clock)


class Paced(IteratorBody):
    """A body whose chunks each take their time."""

    def __init__(self, timers: Timers, *seconds: float) -> None:
        super().__init__()
        self._timers = timers
        self._seconds = iter(seconds)

    async def next_chunk(self) -> bytes:
        for seconds in self._seconds:
            await self._timers.sleep(seconds)
            return b"x"
        raise StopAsyncIteration


def transport_over(timers: Timers, step: Step, **limits: Any) -> TimeoutTransport:  # noqa: ANN401
    """A transport with these limits, by the clock of the test."""
    return TimeoutTransport(Scripted(step), clock=timers.clock, timer=timers, **limits)


def paced(timers: Timers, *seconds: float) -> httpx.Response:
    """A response whose chunks take so long."""
    return httpx.Response(200, stream=Paced(timers, *seconds))


async def test_a_long_stream_is_healthy_while_its_chunks_come_in_time(timers: Timers) -> None:
    """For example, the response of a language model may take minutes."""
    transport = transport_over(timers, paced(timers, *[4.0] * 50), headers=5, idle=5)
    response = await transport.handle_async_request(get())
    assert await response.aread() == b"x" * 50


async def test_a_stream_that_stalls_is_ended(timers: Timers) -> None:
    """By the limit between chunks, whose name the error tells; the connection is closed."""
    stalling = Paced(timers, 1.0, 1.0, 6.0)
    transport = transport_over(timers, httpx.Response(200, stream=stalling), headers=9, idle=5)
    response = await transport.handle_async_request(get())
    with pytest.raises(TimeLimitExceededError) as raised:
        await response.aread()
    assert (raised.value.limit, raised.value.seconds) == ("time between chunks", 5)
    assert "not done within 5 s (time between chunks)" in str(raised.value)
    assert stalling.closes == 1


@pytest.mark.parametrize(
    ("limits", "struck"),
    [
        ({"seconds": 3, "idle": 5}, "timeout"),
        ({"seconds": 9, "idle": 5}, "time between chunks"),
        ({"seconds": 5, "idle": 5}, "timeout"),
    ],
)
async def test_the_limit_that_strikes_first_is_named(
    timers: Timers, limits: dict[str, float], struck: str
) -> None:
    """Of two at the same moment the one on the whole is."""
    transport = transport_over(timers, paced(timers, 10.0), **limits)
    response = await transport.handle_async_request(get())
    with pytest.raises(TimeLimitExceededError) as raised:
        await response.aread()
    assert raised.value.limit == struck


async def test_a_server_that_does_not_answer_is_left_by_the_limit_to_headers(
    timers: Timers,
) -> None:
    """This limit ends the call even if the body would have more time."""

    async def late(_: httpx.Request) -> httpx.Response:
        await timers.sleep(6)
        return httpx.Response(200)

    with pytest.raises(TimeLimitExceededError) as raised:
        await transport_over(timers, late, headers=5, seconds=60).handle_async_request(get())
    assert (raised.value.limit, raised.value.seconds) == ("time to headers", 5)


async def test_a_body_that_no_limit_covers_is_handed_on_as_it_is(timers: Timers) -> None:
    """A limit to the headers costs a body nothing."""
    body = Body(b"x")
    response = await transport_over(
        timers, httpx.Response(200, stream=body), headers=5
    ).handle_async_request(get())
    assert not isinstance(response.stream, LimitedBody)
    assert await response.aread() == b"x"


async def test_time_between_two_reads_is_the_readers_own(timers: Timers) -> None:
    """A reader that is slow does not trip the limit between chunks."""
    response = await transport_over(timers, paced(timers, 1.0, 1.0), idle=5).handle_async_request(
        get()
    )
    async for _ in response.aiter_raw():
        timers.advance(100)
