"""BaseAPIClient over real sockets."""

import anyio
import httpx
import pytest

from tests.integration.fault_server import FaultServer, answer, close, cut, drip
from tests.support import Clock, until
from walltrack import (
    Backoff,
    BaseAPIClient,
    CircuitBreaker,
    CircuitBreakerOpenError,
    Delivery,
    ExternalServiceError,
    RetryPolicy,
    Settings,
    TransportClosedError,
)

pytestmark = pytest.mark.anyio

AT_ONCE = RetryPolicy(backoff=Backoff(base=0.0))


class Things(BaseAPIClient):
    """An API of one's own."""

    async def thing(self, number: int) -> str:
        """The thing of that number."""
        return (await self.get(f"/things/{number}")).text


async def test_a_client_lives_through_a_falter(server: FaultServer) -> None:
    """A client retries without any code of its author."""
    server.will(answer(503), close, answer(200, b"a thing"))
    async with Things(server.url, retry=AT_ONCE, listener=None) as things:
        assert await things.thing(7) == "a thing"
    assert [seen.target for seen in server.seen] == ["/things/7"] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 500, 503])
async def test_a_final_error_says_what_happened(server: FaultServer, status: int) -> None:
    """The message names service, method, path, answer and attempts, and no query."""
    server.default = answer(status, b'{"error": "nope"}')
    attempts = 4 if status >= 500 else 1
    async with Things(server.url, service="things", retry=AT_ONCE, listener=None) as things:
        with pytest.raises(ExternalServiceError) as caught:
            await things.get("/things/7", params={"api-key": "hunter2"})
    error = caught.value
    assert (error.service, error.status_code, error.attempts) == ("things", status, attempts)
    assert error.delivery is Delivery.ANSWERED
    assert str(error).startswith(f"things: GET /things/7 was answered {status}")
    assert f"after {attempts} attempt" in str(error)
    assert "hunter2" not in f"{error!r} {error} {error.__cause__!r} {error.__cause__}"
    assert error.response is not None
    assert error.response.json() == {"error": "nope"}


async def test_no_server_at_all(clock: Clock) -> None:
    """A refused connection says that nothing was sent, and keeps httpx's error as its cause."""
    del clock
    async with Things("http://127.0.0.1:1", retry=AT_ONCE, listener=None) as things:
        with pytest.raises(ExternalServiceError) as caught:
            await things.thing(7)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert caught.value.attempts == 4
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


async def test_the_circuit_outlives_the_connections(server: FaultServer, clock: Clock) -> None:
    """Closing the client closes its connections, but keeps the state of the circuit."""
    server.default = answer(500)
    breaker = CircuitBreaker(4, 30, clock=clock)
    things = Things(server.url, retry=AT_ONCE, breaker=breaker, listener=None)
    with pytest.raises(ExternalServiceError):
        await things.thing(7)
    await things.close()
    await things.close()
    with pytest.raises(CircuitBreakerOpenError):
        await things.thing(7)
    clock.advance(30.0)
    server.default = answer(200, b"back")
    assert await things.thing(7) == "back"
    await things.close()
    assert len(server.seen) == 5


async def test_calls_that_race_to_be_the_first_share_one_pool(server: FaultServer) -> None:
    """Ten first calls at once open one client, and its close leaves no connection behind."""
    things = Things(server.url, listener=None)
    async with anyio.create_task_group() as callers:
        for number in range(10):
            callers.start_soon(things.thing, number)
    await things.get("/again")
    await things.close()
    assert len(server.seen) == 11
    assert server.connections <= 10


async def test_a_stream_is_read_as_it_comes(server: FaultServer) -> None:
    """The body of a stream is handed out while it is still being sent."""
    server.will(drip(every=0.005, times=3))
    async with Things(server.url) as things, things.stream("GET", "/drip") as response:
        chunks = [chunk async for chunk in response.aiter_raw()]
    assert chunks == [b".", b".", b"."]


async def test_a_stream_that_breaks_off_is_the_services_failure(server: FaultServer) -> None:
    """A body that ends early is an ExternalServiceError, not an httpx one."""
    server.will(cut(b"half", missing=2**20))
    async with Things(server.url) as things:
        with pytest.raises(ExternalServiceError) as caught:
            async with things.stream("GET", "/cut") as response:
                await response.aread()
    assert caught.value.delivery is Delivery.UNCERTAIN


async def test_settings_are_what_counts_where_nothing_is_given(server: FaultServer) -> None:
    """Threshold, cooldown, retries and backoff come from the settings."""
    settings = Settings(
        circuit_breaker_threshold=2,
        circuit_breaker_cooldown=7,
        retry_max_retries=1,
        retry_backoff_base=0.0,
    )
    server.default = answer(500)
    async with Things(server.url, settings=settings, listener=None) as things:
        with pytest.raises(ExternalServiceError) as caught:
            await things.thing(7)
        with pytest.raises(CircuitBreakerOpenError) as refused:
            await things.thing(7)
    assert caught.value.attempts == 2
    assert 6.0 < refused.value.retry_after <= 7.0


async def test_closing_ends_a_call_in_its_backoff(server: FaultServer) -> None:
    """It sends nothing more, and its error says why; a later call opens a new connection."""
    server.will(answer(503))
    waits = anyio.Event()

    async def sleep(_: float) -> None:
        waits.set()
        await anyio.sleep_forever()

    ended: list[TransportClosedError] = []

    async def call() -> None:
        try:
            await things.thing(7)
        except TransportClosedError as error:
            ended.append(error)

    things = Things(server.url, listener=None, sleep=sleep)
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await waits.wait()
        await things.close()
    assert len(ended) == len(server.seen) == 1
    await until(lambda: server.open_connections == 0)

    assert await things.thing(7)
    await things.close()
    await until(lambda: server.open_connections == 0)
