"""`RedisState` with a cluster of several nodes and with a Sentinel: real servers on loopback."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import pytest
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import Sentinel

from tests.fleet.server import Server, free_port, serving
from tests.support import Clock, Events
from walltrack.core.shared_state import CircuitAct, CircuitReport, CircuitView, Pace
from walltrack.fleet import RedisState, SharedStateLost, SharedStateRecovered

pytestmark = pytest.mark.anyio

NAME = "https://api.test"
CIRCUIT, RATE = f"walltrack:{{{NAME}}}:circuit", f"walltrack:{{{NAME}}}:rate"
SLOTS = 16384
PRIMARIES = 3
AT_ONCE = ("--repl-diskless-sync-delay", "0")


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of redis-py."""
    return "asyncio"


def asked(server: Server, *command: object) -> Any:  # noqa: ANN401 - as in the client
    """Send one command to one server."""
    with server.client() as client:
        return client.execute_command(*command)


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for the servers."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.02)


def follows(replica: Server) -> bool:
    """Whether a replica has what its primary has."""
    with replica.client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")


@contextmanager
def cluster(replicated: int) -> Iterator[list[Server]]:
    """Three primaries, and a replica of one of them, which is the last server."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *AT_ONCE)
    with ExitStack() as stack:
        buses = [free_port() for _ in range(PRIMARIES + 1)]
        nodes = [
            stack.enter_context(serving("valkey", *options, "--cluster-port", str(bus)))
            for bus in buses
        ]
        for number, node in enumerate(nodes[:PRIMARIES]):
            asked(node, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            first, last = (SLOTS * at // PRIMARIES for at in (number, number + 1))
            asked(node, "CLUSTER ADDSLOTSRANGE", first, last - 1)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            asked(nodes[0], "CLUSTER MEET", "127.0.0.1", node.port, bus)
        primary = asked(nodes[replicated], "CLUSTER MYID")
        replica = nodes[-1]
        wait_until(lambda: primary in str(asked(replica, "CLUSTER NODES")))
        asked(replica, "CLUSTER REPLICATE", primary)
        for node in nodes:
            wait_until(lambda: asked(node, "CLUSTER INFO")["cluster_state"] == "ok")  # noqa: B023 - called at once
        wait_until(lambda: follows(replica))
        yield nodes


async def failed(shared: RedisState) -> CircuitView | None:
    """Report one failure."""
    report = CircuitReport(CircuitAct.FAILED, 0, 0, 1, 10, 30.0, 30.0, 30.0)
    return await shared.report(NAME, report)


async def failures(shared: RedisState) -> int:
    """Report one failure, and return how many there are."""
    view = await failed(shared)
    assert view is not None
    return view.failures


async def failures_after_a_loss(shared: RedisState, clock: Clock) -> int:
    """Report failures until the store answers."""
    with anyio.fail_after(20):
        while (view := await failed(shared)) is None:
            clock.advance(30.0)
            await anyio.sleep(0.02)
    return view.failures


def assert_at_most_one_loss(events: Events) -> None:
    """A client may bridge a failover within the timeout."""
    assert [type(event) for event in events] in ([], [SharedStateLost, SharedStateRecovered])


async def test_a_cluster_moves_the_keys_of_an_origin_and_loses_their_node(
    clock: Clock, events: Events
) -> None:
    """They are in one slot; the client follows it to another node, and to that node's replica."""
    source, target = 2, 1
    with cluster(replicated=target) as nodes:
        slot = asked(nodes[0], "CLUSTER KEYSLOT", CIRCUIT)
        assert slot == asked(nodes[0], "CLUSTER KEYSLOT", RATE)
        old, new, replica = nodes[source], nodes[target], nodes[-1]
        assert slot * PRIMARIES // SLOTS == source
        async with RedisCluster(host="127.0.0.1", port=nodes[0].port) as client:
            shared = RedisState(client, timeout=5.0, clock=clock, listener=events)
            assert await failures(shared) == 1
            assert await shared.lease(NAME, Pace(1.0, 1), 1, 60.0) == (1, 0.0, 0.0)
            await shared.set_mode(NAME, "disabled")
            assert set(await shared.modes() or ()) == {NAME}

            old_id, new_id = (asked(node, "CLUSTER MYID") for node in (old, new))
            asked(new, "CLUSTER SETSLOT", slot, "IMPORTING", old_id)
            asked(old, "CLUSTER SETSLOT", slot, "MIGRATING", new_id)
            asked(old, "MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", CIRCUIT, RATE)
            assert await failures(shared) == 2  # redirected by ASK
            for node in (new, old):
                asked(node, "CLUSTER SETSLOT", slot, "NODE", new_id)
            assert await failures(shared) == 3  # redirected by MOVED
            assert await failures(shared) == 4
            assert events == []

            wait_until(lambda: asked(new, "WAIT", 1, 100))
            new.kill()
            asked(replica, "CLUSTER FAILOVER", "TAKEOVER")
            assert await failures_after_a_loss(shared, clock) == 5
    assert_at_most_one_loss(events)


async def test_a_sentinel_names_another_primary(clock: Clock, events: Events) -> None:
    """The primary dies, its replica takes its place, and the sharing goes on with what it has."""
    with ExitStack() as stack:
        primary = stack.enter_context(serving("valkey", *AT_ONCE))
        replicaof = ("--replicaof", "127.0.0.1", str(primary.port))
        replica = stack.enter_context(serving("valkey", *AT_ONCE, *replicaof))
        wait_until(lambda: follows(replica))
        settings = (
            f"sentinel monitor service 127.0.0.1 {primary.port} 1",
            "sentinel down-after-milliseconds service 100",
            "sentinel failover-timeout service 1000",
        )
        sentinel = stack.enter_context(serving("valkey", "--sentinel", config="\n".join(settings)))
        wait_until(lambda: asked(sentinel, "SENTINEL", "REPLICAS", "service"))

        watching = Sentinel([("127.0.0.1", sentinel.port)])  # type: ignore[no-untyped-call]
        async with watching.master_for("service") as client:
            shared = RedisState(client, timeout=5.0, clock=clock, listener=events)
            assert await failures(shared) == 1
            wait_until(lambda: asked(primary, "WAIT", 1, 100))
            primary.kill()
            assert await failures_after_a_loss(shared, clock) == 2
        for watcher in watching.sentinels:
            await watcher.aclose()
        with replica.client() as look:
            assert look.hget(CIRCUIT, "failures") == "2"
    assert_at_most_one_loss(events)
