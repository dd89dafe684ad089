"""`RedisState` when its server is slow, down, full, moved, or not what was expected."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import coredis
import pytest
import redis.asyncio
import redis.asyncio.cluster

from tests.fleet.server import Server, free_port, serving
from tests.support import Clock, Events
from walltrack import log_event
from walltrack.core.shared_state import CircuitAct, CircuitReport, CircuitView, Pace
from walltrack.fleet import RedisState, SharedStateLost, SharedStateRecovered

pytestmark = pytest.mark.anyio

REPORT = CircuitReport(CircuitAct.FAILED, 0, 0, 1, 5, 30.0, 30.0)
RESET = CircuitAct.RESET
SOON = 0.05  # seconds that a store may take in these tests
NAME = "https://api.test"
SECRET = "hunter2"  # noqa: S105 - that is the point


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the client of most programs; a test of another one overrides it."""
    return "asyncio"


@pytest.fixture(scope="module")
def lasting() -> Iterator[Server]:
    """A server that no test ends."""
    with serving() as running:
        yield running


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of its own for one test."""
    with serving() as running:
        yield running


@asynccontextmanager
async def client_of(server: Server) -> AsyncIterator["redis.asyncio.Redis"]:
    """A client as most programs have it."""
    async with redis.asyncio.Redis.from_url(server.url) as client:
        yield client


def state(client: object, clock: Clock, events: Events, timeout: float = 1.0) -> RedisState:
    """The state under test, which is left alone after a loss until the clock is moved."""
    return RedisState(client, clock=clock, listener=events, timeout=timeout)  # type: ignore[arg-type]


async def report(shared: RedisState) -> CircuitView | None:
    """Report one failure."""
    return await shared.report(NAME, REPORT)


async def test_a_server_that_dies_and_comes_back(
    server: Server, clock: Clock, events: Events
) -> None:
    """Its loss and its recovery are one event each; nothing that it kept is needed."""
    async with client_of(server) as client:
        shared = state(client, clock, events)
        assert await report(shared) is not None
        server.kill()
        assert await report(shared) is None
        clock.advance(1.0)
        assert await report(shared) is None
        server.start()
        clock.advance(2.0)
        view = await report(shared)
    assert view is not None
    assert view.failures == 1
    assert [type(event) for event in events] == [SharedStateLost, SharedStateRecovered]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_server_that_hangs(
    server: Server, clock: Clock, events: Events, anyio_backend: str
) -> None:
    """A call waits for the timeout once, and the next ones do not wait at all."""
    client: object = redis.asyncio.Redis.from_url(server.url)
    if anyio_backend == "trio":
        client = coredis.Redis.from_url(server.url)
    async with client:  # type: ignore[attr-defined]
        shared = state(client, clock, events, timeout=SOON)
        while (
            await report(shared) is None
        ):  # the first connection can take longer on a busy machine
            clock.advance(30.0)
        events.clear()
        server.pause()
        began = time.monotonic()
        for _ in range(100):
            assert await report(shared) is None
        assert SOON <= time.monotonic() - began < 20 * SOON
        server.go_on()
        with anyio.fail_after(10):
            while await report(shared) is None:
                clock.advance(30.0)
    assert events == [
        SharedStateLost("walltrack", "TimeoutError"),
        SharedStateRecovered("walltrack"),
    ]


async def test_a_server_that_is_full(clock: Clock, events: Events) -> None:
    """A write that is refused is a loss; reads alone are of no use."""
    with serving("valkey", "--maxmemory", "1", "--maxmemory-policy", "noeviction") as server:
        async with client_of(server) as client:
            assert await report(state(client, clock, events)) is None
    assert [type(event) for event in events] == [SharedStateLost]


async def test_a_primary_that_became_a_replica(
    server: Server, clock: Clock, events: Events
) -> None:
    """After a failover, an old primary refuses writes until the client finds the new one."""
    async with client_of(server) as client:
        shared = state(client, clock, events)
        await client.replicaof("127.0.0.1", 1)
        assert await report(shared) is None
        await client.replicaof("NO", "ONE")
        clock.advance(1.0)
        assert await report(shared) is not None
    assert [type(event) for event in events] == [SharedStateLost, SharedStateRecovered]


async def test_keys_that_others_wrote(lasting: Server, clock: Clock, events: Events) -> None:
    """A key of another type is a loss, and a field without a number counts as 0."""
    async with client_of(lasting) as client:
        await client.flushall()
        await client.set(f"walltrack:{{{NAME}}}:circuit", "mine")
        shared = state(client, clock, events)
        assert await report(shared) is None
        await client.delete(f"walltrack:{{{NAME}}}:circuit")
        await client.hset(f"walltrack:{{{NAME}}}:circuit", "failures", "many")
        clock.advance(1.0)
        view = await report(shared)
    assert view is not None
    assert view.failures == 1


async def test_a_server_whose_clock_is_behind(
    lasting: Server, clock: Clock, events: Events
) -> None:
    """After a failover, generations still rise."""
    async with client_of(lasting) as client:
        await client.flushall()
        await client.hset(f"walltrack:{{{NAME}}}:circuit", "generation", str(2**52))
        view = await state(client, clock, events).report(NAME, REPORT._replace(act=RESET))
    assert view is not None
    assert view.generation == 2**52 + 1


async def test_a_server_that_forgot_its_scripts(
    lasting: Server, clock: Clock, events: Events
) -> None:
    """They are loaded again: a restart costs one round trip more, and no loss."""
    async with client_of(lasting) as client:
        shared = state(client, clock, events)
        assert await report(shared) is not None
        await client.script_flush()
        assert await report(shared) is not None
    assert events == []


async def test_what_is_no_server_of_redis(clock: Clock, events: Events) -> None:
    """It answers something else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        async with redis.asyncio.Redis(port=port) as client:
            assert await report(state(client, clock, events)) is None
    assert [type(event) for event in events] == [SharedStateLost]


async def test_no_password_and_no_text_of_an_error_is_logged(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that refuses a password repeats the user; the log has the class of the error."""
    with serving("valkey", "--requirepass", "another") as server:
        url = server.url.replace("//", f"//user:{SECRET}@")
        async with redis.asyncio.Redis.from_url(url) as client:
            shared = RedisState(client, clock=clock, listener=log_event, timeout=1.0)
            with caplog.at_level(logging.DEBUG):
                assert await report(shared) is None
    assert "shared_state_lost" in caplog.text
    for text in (SECRET, "WRONGPASS", "127.0.0.1"):
        assert text not in caplog.text
    assert "failure=AuthenticationError" in caplog.text


async def test_every_key_expires(lasting: Server, clock: Clock, events: Events) -> None:
    """Nothing is left of a fleet that has ended."""
    async with client_of(lasting) as client:
        await client.flushall()
        shared = state(client, clock, events)
        await report(shared)
        await shared.lease(NAME, Pace(1.0, 1), 1, 60.0)
        await shared.hold_back("https://other.test", 5.0)
        await shared.set_mode(NAME, "disabled")
        await shared.modes()
        expiries = {key: await client.ttl(key) for key in await client.keys()}
    assert len(expiries) == 4
    assert all(0 < seconds <= 86400 for seconds in expiries.values())


async def test_a_cluster(clock: Clock, events: Events) -> None:
    """All keys of one origin are in one slot, whatever their number."""
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with serving("valkey", *options) as server:
        with server.client() as setup:
            setup.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        client = redis.asyncio.cluster.RedisCluster(host="127.0.0.1", port=server.port)
        shared = state(client, clock, events, timeout=5.0)
        with anyio.fail_after(10):
            while await report(shared) is None:  # it takes a moment to be ready
                clock.advance(30.0)
        assert await shared.lease(NAME, Pace(1.0, 1), 1, 60.0) == (1, 0.0, 0.0)
        await shared.set_mode(NAME, "disabled")
        assert await shared.modes() is not None
        with server.client() as look:
            slots = {
                look.execute_command("CLUSTER KEYSLOT", f"walltrack:{{{NAME}}}:{kind}")
                for kind in ("circuit", "rate")
            }
        await client.aclose()
    assert len(slots) == 1
