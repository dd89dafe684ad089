import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self

import anyio
import httpx
import pytest

from walltrack.simulation.arrivals import Arrival
from walltrack.simulation.clients import GAVE_UP, Call, Target, call_all
from walltrack.simulation.clock import run_virtually
from walltrack.simulation.messages import endless_response, short_response
from walltrack.simulation.scenario import Callers

CALLERS = Callers()


class Fake(httpx.AsyncBaseTransport):
    """Gives the configured answer after some time; logs that it was entered and closed."""

    def __init__(
        self,
        seconds: float = 0.0,
        answer: Callable[[], httpx.Response] = short_response,
        error: Exception | None = None,
    ) -> None:
        self.seconds = seconds
        self.answer = answer
        self.error = error
        self.requests: list[httpx.Request] = []
        self.effective: list[float] = []
        self.log: list[str] = []

    async def __aenter__(self) -> Self:
        self.log.append("entered")
        return self

    async def aclose(self) -> None:
        self.log.append("closed")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.effective.append(anyio.current_effective_deadline())
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return self.answer()


def made(
    fake: Target,
    callers: Callers = CALLERS,
    times: Sequence[float] = (0.0,),
) -> list[Call]:
    """The calls that were made through a transport."""
    expected = [Arrival(at, 0, "api.test") for at in times]
    return run_virtually(lambda: call_all(expected, [fake], callers))


def ended(call: Call) -> tuple[str | None, float]:
    """How a call ended, and after how many seconds."""
    return call.failure, call.seconds


def test_calls_are_made_at_their_times_whatever_becomes_of_them() -> None:
    """An open loop: no call waits for the one before."""
    calls = made(Fake(seconds=3.0), times=[0.0, 1.0, 1.0, 2.5])
    assert [call.began for call in calls] == [0.0, 1.0, 1.0, 2.5]
    assert [ended(call) for call in calls] == [(None, 3.0)] * 4


@pytest.mark.parametrize(
    ("fake", "failure"),
    [
        (Fake(1.0, lambda: short_response(404)), "404"),
        (Fake(1.0, lambda: short_response(503)), "503"),
        (Fake(1.0, error=httpx.ConnectError("no")), "ConnectError"),
        (Fake(1.0, error=ValueError("a bug")), "ValueError"),
        (Fake(1.0, lambda: short_response(302)), None),
    ],
)
def test_a_status_or_an_exception_is_a_failure(fake: Fake, failure: str | None) -> None:
    """Only a status below 400 is a success."""
    assert ended(made(fake)[0]) == (failure, 1.0)


@pytest.mark.parametrize("announced", [False, True])
def test_a_caller_gives_up(*, announced: bool) -> None:
    """A caller gives up also while it reads the body."""
    callers = Callers(patience=10.0, announced=announced)
    for fake in (Fake(seconds=60.0), Fake(answer=endless_response)):
        assert ended(made(fake, callers)[0]) == (GAVE_UP, 10.0)


@pytest.mark.parametrize(("announced", "deadline"), [(False, math.inf), (True, 12.0)])
def test_a_stack_can_know_a_patience_that_is_announced(deadline: float, *, announced: bool) -> None:
    """A known patience is the deadline of the cancel scope around the call."""
    fake = Fake()
    made(fake, Callers(patience=10.0, announced=announced), times=[2.0])
    assert fake.effective == [deadline]


def test_an_answer_that_is_too_late_is_no_success() -> None:
    """It counts as a failure, even if a stack swallows the cancellation."""

    class Stubborn(Fake):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            try:
                return await super().handle_async_request(request)
            except asyncio.CancelledError:
                await asyncio.sleep(1.0)
                return short_response()

    call = made(Stubborn(seconds=60.0), Callers(patience=10.0))[0]
    assert ended(call) == (GAVE_UP, 11.0)


def test_a_caller_without_patience_waits_but_the_run_ends() -> None:
    """The run ends some minutes after the last call began."""
    callers = Callers(patience=None)
    assert ended(made(Fake(seconds=200.0), callers)[0]) == (None, 200.0)
    assert ended(made(Fake(answer=endless_response), callers)[0]) == (GAVE_UP, 300.0)


def test_a_request_is_what_a_client_would_send() -> None:
    """Each call has a request of its own, with method, URL, headers and timeouts."""
    fake = Fake()
    made(fake, Callers(method="POST", timeout=7.0), times=[0.0, 1.0])
    first, second = fake.requests
    assert (first.method, str(first.url)) == ("POST", "http://api.test/")
    assert first.headers["host"] == "api.test"
    assert first.extensions == {"timeout": {"connect": 7.0, "read": 7.0, "write": 7.0, "pool": 7.0}}
    first.headers["x"] = "y"
    first.extensions["timeout"]["read"] = 1.0
    assert "x" not in second.headers
    assert second.extensions["timeout"]["read"] == 7.0


def test_a_transport_is_entered_and_closed() -> None:
    """It is entered and closed once, as by a client."""
    fake = Fake(seconds=2.0)
    made(fake)
    assert fake.log == ["entered", "closed"]


def test_a_body_that_a_layer_has_read_is_not_read_again() -> None:
    """The connection has no more data of it."""
    reads: list[int] = []

    class Once(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            reads.append(1)
            yield b"ok"

    class Reading(Fake):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            await response.aread()
            return response

    call = made(Reading(answer=lambda: httpx.Response(200, stream=Once())))[0]
    assert ended(call) == (None, 0.0)
    assert reads == [1]


def test_a_client_sends_by_its_own_code() -> None:
    """Its auth, its hooks and its redirects are used."""
    fake = Fake(1.0)
    client = httpx.AsyncClient(transport=fake, auth=("me", "secret"))
    assert ended(made(client)[0]) == (None, 1.0)
    assert fake.requests[0].headers["authorization"].startswith("Basic ")
    assert client.is_closed


def test_nothing_is_called_without_callers() -> None:
    """A run without callers ends at once."""
    assert made(Fake(), times=[]) == []
