"""`RedisState` when its server is slow, down, full, moved, or not what was expected."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import coredis
import pytest
import redis.asyncio

from tests.fleet.server import Server, serving
from tests.support import Clock, Events, Scripted, get
from walltrack import CircuitBreakerTransport, log_event
from walltrack.core.shared_state import CircuitAct, CircuitReport, CircuitView, Pace
from walltrack.fleet import RedisState, SharedStateLost, SharedStateRecovered

pytestmark = pytest.mark.anyio

REPORT = CircuitReport(CircuitAct.FAILED, 0, 0, 1, 5, 30.0, 30.0)
SOON = 0.05  # seconds that a store may take in these tests
NAME = "https://api.test"
ERRORS = (
    *("NOAUTH", "WRONGPASS", "NOPERM", "LOADING", "READONLY", "OOM", "MASTERDOWN", "NOREPLICAS"),
    *("BUSY", "NOSCRIPT", "WRONGTYPE", "CLUSTERDOWN", "TRYAGAIN", "MOVED 1 127.0.0.1:1", "ERR"),
)
SECRET = "hunter2"  # noqa: S105 - that is the point


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the client of most programs; a test of another one overrides it."""
    return "asyncio"


@pytest.fixture(scope="module")
def lasting() -> Iterator[Server]:
    """A server that is shared by the tests and not stopped by any."""
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
    """Its loss and its recovery are one event each, and the lost state is not needed."""
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
    """A rejected write is a loss, although reads still work."""
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


async def test_fields_that_others_wrote(lasting: Server, clock: Clock, events: Events) -> None:
    """An invalid state, number or time counts as absent, and is overwritten."""
    async with client_of(lasting) as client:
        await client.flushall()
        fields: dict[Any, Any] = {
            "state": "ajar",
            "until": "inf",
            "generation": "nan",
            "openings": "-5",
        }
        await client.hset(f"walltrack:{{{NAME}}}:circuit", mapping=fields)
        fields = {"next": "inf", "held_until": "nan", "at": "1e999"}
        await client.hset(f"walltrack:{{{NAME}}}:rate", mapping=fields)
        await client.hset("walltrack:{settings}", mapping={"a": "nonsense", "b": f"x {10**30}"})
        shared = state(client, clock, events)
        view = await report(shared)
        assert view is not None
        assert (view.state, view.failures, view.openings, view.seconds) == ("closed", 1, 0, 0.0)
        assert await shared.lease(NAME, Pace(1.0, 1), 1, 60.0) == (1, 0.0, 0.0)
        assert await shared.set_mode("c", "disabled") is not None
        assert set(await shared.modes() or ()) == {"c"}
    assert events == []


async def test_a_server_whose_clock_is_behind(
    lasting: Server, clock: Clock, events: Events
) -> None:
    """After a failover, generations still rise, and no wait becomes longer by the difference."""

    async def set_back_by_an_hour(key: str, *names: str) -> None:
        for name in names:
            await client.hincrbyfloat(f"walltrack:{{{NAME}}}:{key}", name, 3600e6)

    async with client_of(lasting) as client:
        await client.flushall()
        shared = state(client, clock, events)
        opened = await shared.report(NAME, REPORT._replace(failures=5))
        assert opened is not None
        await set_back_by_an_hour("circuit", "generation", "until", "failed_at")
        known = opened.generation + 3_600_000_000
        asked = await shared.report(NAME, REPORT._replace(act=CircuitAct.ASKED, generation=known))
        assert asked is not None
        assert (asked.generation, asked.granted) == (known, False)
        assert 20.0 < asked.seconds <= 30.0
        closed = await shared.report(NAME, REPORT._replace(act=CircuitAct.RESET))
        assert closed is not None
        assert closed.generation == known + 1
        await client.hset(f"walltrack:{{{NAME}}}:circuit", "failures", 4)
        again = await shared.report(NAME, REPORT._replace(generation=closed.generation))
        assert again is not None
        assert again.failures == 1  # the others are from another time

        await shared.lease(NAME, Pace(1.0, 1), 10, 60.0)
        await shared.hold_back(NAME, 0.02)
        await set_back_by_an_hour("rate", "next", "held_until", "at")
        held = await shared.lease(NAME, Pace(1.0, 1), 1, 60.0)
        assert held is not None
        assert held.tokens == 0
        assert 0.0 < held.held_for <= 0.02
        await anyio.sleep(0.03)
        lease = await shared.lease(NAME, Pace(1.0, 1), 1, 60.0)
        assert lease is not None
        assert lease.tokens == 1
        assert 5.0 < lease.first_in <= 10.0
    assert events == []


async def test_a_server_that_forgot_its_scripts(
    lasting: Server, clock: Clock, events: Events
) -> None:
    """The scripts are loaded again: a restart costs one more round trip, but is no loss."""
    async with client_of(lasting) as client:
        shared = state(client, clock, events)
        assert await report(shared) is not None
        await client.script_flush()
        assert await report(shared) is not None
    assert events == []


@pytest.mark.parametrize(
    "line",
    [
        *(f"-{error} {SECRET}" for error in ERRORS),
        *("$-1", ":5", ":-5", "*0", "*1\r\n:5", "*3\r\n:1\r\n:2\r\n$1\r\n3", "+OK"),
        "*6\r\n$4\r\najar\r\n:1\r\n:0\r\n:0\r\n:0\r\n:0",
        "HTTP/1.1 400 Bad Request",
    ],
)
async def test_a_server_that_answers_everything_with_one_line(
    clock: Clock, events: Events, line: str
) -> None:
    """Whatever the line is, no error reaches the caller, and its text is in no event."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while command := await reader.read(10_000):
                setting_up = b"EVALSHA" not in command and b"SCRIPT" not in command
                answers = ("+OK" if setting_up else line).encode() + b"\r\n"
                writer.write(answers * max(command.count(b"\r\n*") + command.startswith(b"*"), 1))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        async with redis.asyncio.Redis(port=port, protocol=2) as client:
            shared = state(client, clock, events, timeout=SOON)
            for _ in range(2):
                assert await report(shared) is None
            assert await shared.modes() is None
            assert await shared.lease(NAME, Pace(1.0, 1), 1, 60.0) is None
            clock.advance(1.0)
            assert await shared.set_mode(NAME, "disabled") in {None, 5}
    assert [type(event) for event in events][:1] == [SharedStateLost]
    assert SECRET not in repr(events)


async def test_a_hundred_callers_and_a_server_that_hangs(
    server: Server, clock: Clock, events: Events
) -> None:
    """Each gets the answer of the service, and together they wait for the timeout once."""
    async with client_of(server) as client:
        shared = state(client, clock, events)
        assert await report(shared) is not None
        shared = state(client, clock, events, timeout=SOON)
        transport = CircuitBreakerTransport(
            Scripted(503), failure_threshold=1000, shared=shared, clock=clock, listener=None
        )
        server.pause()
        answers: list[int] = []

        async def call() -> None:
            response = await transport.handle_async_request(get(f"{NAME}/things"))
            answers.append(response.status_code)

        began = time.monotonic()
        async with anyio.create_task_group() as calls:
            for _ in range(100):
                calls.start_soon(call)
        assert SOON <= time.monotonic() - began < 20 * SOON
        server.go_on()
    assert answers == [503] * 100
    assert events == [SharedStateLost("walltrack", "TimeoutError")]


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
