"""The contract of `SharedState`, kept by real servers and by the store of the simulations."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import anyio
import coredis
import pytest
import redis.asyncio

from tests.fleet.fake_store import FakeStore
from tests.fleet.server import BINARIES, Server, serving
from tests.support import Clock
from walltrack.core.shared_state import (
    CircuitAct,
    CircuitReport,
    CircuitView,
    Pace,
    SharedCircuitState,
    SharedState,
)
from walltrack.fleet import RedisState

pytestmark = pytest.mark.anyio

FAILED, OPENED, SUCCEEDED, ASKED, RELEASED, RESET = CircuitAct
CLOSED, OPEN, HALF_OPEN = SharedCircuitState

LONG, SHORT = 60.0, 0.01  # seconds: not over while a test runs, and over after `World.passes`


@dataclass
class World:
    """A store, and how time passes for it."""

    store: SharedState
    passes: Callable[[], Awaitable[None]]

    async def report(
        self,
        act: CircuitAct,
        knows: CircuitView | int = 0,
        *,
        lease: int = 0,
        failures: int = 1,
        cooldown: float = LONG,
        patience: float = LONG,
        memory: float = LONG,
    ) -> CircuitView:
        """Report to the same circuit as a process that knows of a generation."""
        known = knows.generation if isinstance(knows, CircuitView) else knows
        report = CircuitReport(act, known, lease, failures, 3, cooldown, patience, memory)
        view = await self.store.report("https://api.test", report)
        assert view is not None
        return view

    async def probing(self, *, lease_for: float = LONG) -> CircuitView:
        """Open the circuit, and get the lease for its probe."""
        opened = await self.report(OPENED, cooldown=SHORT)
        await self.passes()
        view = await self.report(ASKED, opened, patience=lease_for)
        assert view.granted
        return view


@pytest.fixture(scope="module", params=BINARIES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server for the tests of this module."""
    with serving(request.param) as running:
        yield running


async def through_redis(stack: AsyncExitStack, server: Server) -> World:
    """A world with redis-py."""
    client = await stack.enter_async_context(redis.asyncio.Redis(port=server.port))
    await client.flushall()
    return World(RedisState(client, timeout=5.0), partial(anyio.sleep, 2 * SHORT))


async def through_coredis(stack: AsyncExitStack, server: Server) -> World:
    """A world with coredis, whose client also runs on trio."""
    client = coredis.Redis(port=server.port, decode_responses=True)
    await stack.enter_async_context(client)
    await client.flushall()
    return World(RedisState(client, timeout=5.0), partial(anyio.sleep, 2 * SHORT))


async def in_memory(stack: AsyncExitStack, server: Server) -> World:
    """A world with the store of the simulations."""
    del stack, server
    clock = Clock()
    return World(FakeStore(clock), partial(clock.sleep, 2 * SHORT))


@pytest.fixture(
    params=[("asyncio", through_redis), ("trio", through_coredis), ("asyncio", in_memory)],
    ids=lambda param: param[1].__name__,
)
def kind(request: pytest.FixtureRequest) -> object:
    """An event loop, and how to make a world on it."""
    return request.param


@pytest.fixture
def anyio_backend(kind: tuple[str, object]) -> str:
    """The event loop on which the client of the store runs."""
    return kind[0]


@pytest.fixture
async def world(
    kind: tuple[str, Callable[[AsyncExitStack, Server], Awaitable[World]]], server: Server
) -> AsyncIterator[World]:
    """A store without any state."""
    async with AsyncExitStack() as stack:
        yield await kind[1](stack, server)


# Counting


async def test_failures_of_all_processes_open_the_circuit(world: World) -> None:
    """Failures of all processes add up, and the one that reaches the threshold opens it."""
    assert (await world.report(FAILED)).failures == 1
    assert (await world.report(FAILED)).state is CLOSED
    view = await world.report(FAILED)
    assert (view.state, view.failures, view.openings) == (OPEN, 3, 1)
    assert LONG - 10 < view.seconds <= LONG


async def test_several_failures_can_be_reported_at_once(world: World) -> None:
    """A process that could not report each failure can report their number."""
    assert (await world.report(FAILED, failures=3)).state is OPEN


async def test_a_success_ends_the_failures_in_a_row(world: World) -> None:
    """After a success the count begins at 0."""
    await world.report(FAILED, failures=2)
    assert (await world.report(SUCCEEDED)).failures == 0
    assert (await world.report(FAILED)).state is CLOSED


async def test_failures_far_apart_are_not_in_a_row(world: World) -> None:
    """A failure without a following one is forgotten after `memory`, however short the lease."""
    await world.report(FAILED, failures=2)
    await world.passes()
    assert (await world.report(FAILED, patience=SHORT, failures=0)).failures == 2
    await world.passes()
    assert (await world.report(FAILED, memory=SHORT)).failures == 1


async def test_no_number_of_failures_opens_without_a_threshold(world: World) -> None:
    """Where processes decide by windows, only their own opening counts."""
    report = CircuitReport(FAILED, failures=100, cooldown=LONG, patience=LONG, memory=LONG)
    view = await world.store.report("https://api.test", report)
    assert view is not None
    assert view.state is CLOSED


async def test_circuits_do_not_answer_for_each_other(world: World) -> None:
    """Circuits with different names are independent."""
    await world.report(OPENED)
    view = await world.store.report("https://other.test", CircuitReport(FAILED, failures=1))
    assert view is not None
    assert view.state is CLOSED


# Opening


async def test_a_process_that_opened_opens_the_fleets_circuit(world: World) -> None:
    """The others learn for how long it is open from the reply to any of their reports."""
    await world.report(OPENED, failures=4)
    view = await world.report(FAILED)
    assert (view.state, view.failures, view.openings) == (OPEN, 4, 1)
    assert LONG - 10 < view.seconds <= LONG


async def test_a_second_opening_changes_nothing(world: World) -> None:
    """Processes that open together agree on the cooldown of the first one."""
    first = await world.report(OPENED)
    second = await world.report(OPENED, cooldown=10 * LONG)
    assert second.generation == first.generation
    assert second.seconds <= LONG
    assert second.openings == 1


async def test_no_probe_is_allowed_before_the_end_of_the_cooldown(world: World) -> None:
    """A process whose own clock was early learns how long to wait."""
    opened = await world.report(OPENED)
    view = await world.report(ASKED, opened)
    assert (view.state, view.granted) == (OPEN, False)


# Probing


async def test_one_process_gets_the_lease(world: World) -> None:
    """The second one learns for how long the first one has it."""
    granted = await world.probing()
    denied = await world.report(ASKED)
    assert (granted.state, granted.granted) == (HALF_OPEN, True)
    assert (denied.state, denied.granted, denied.generation) == (
        *(HALF_OPEN, False, granted.generation),
    )
    assert LONG - 10 < denied.seconds <= LONG


async def test_a_lease_expires(world: World) -> None:
    """If its holder is gone, another process probes, and a late report of the holder is ignored."""
    lost = await world.probing(lease_for=SHORT)
    await world.passes()
    found = await world.report(ASKED, lost)
    late = await world.report(SUCCEEDED, lost, lease=lost.generation)
    assert found.granted
    assert found.generation > lost.generation
    assert (late.state, late.generation) == (HALF_OPEN, found.generation)


async def test_a_lease_after_one_that_expired_is_twice_as_long(world: World) -> None:
    """A service that needs more time to answer has it; the next outage begins with the first time.

    So the probes of a fleet end in time, however slow the service is.
    """
    held = await world.probing(lease_for=SHORT)
    assert SHORT / 2 < held.seconds <= SHORT
    for times in (2, 4):
        for _ in range(times // 2):
            await world.passes()
        held = await world.report(ASKED, held, lease=held.generation, patience=SHORT)
        assert held.granted
        assert SHORT * times / 2 < held.seconds <= SHORT * times
    await world.report(OPENED, held, lease=held.generation, cooldown=SHORT)
    await world.passes()
    assert (await world.report(ASKED, patience=SHORT)).seconds <= SHORT


async def test_a_lease_can_be_given_back(world: World) -> None:
    """After a probe without a verdict, the next process probes at once."""
    held = await world.probing()
    await world.report(RELEASED, held, lease=held.generation)
    asked = await world.report(ASKED, patience=SHORT)
    assert asked.granted
    assert asked.seconds <= SHORT


async def test_the_success_of_the_probe_closes_the_circuit(world: World) -> None:
    """The next process that asks learns that it is closed, and gets no lease."""
    held = await world.probing()
    closed = await world.report(SUCCEEDED, held, lease=held.generation)
    asked = await world.report(ASKED, held)
    assert closed == (CLOSED, closed.generation, 0.0, 0, 0, False)
    assert (asked.state, asked.granted) == (CLOSED, False)


async def test_the_failure_of_the_probe_opens_the_circuit_again(world: World) -> None:
    """The number of openings is shared, so that the cooldowns of the fleet grow together."""
    held = await world.probing()
    view = await world.report(OPENED, held, lease=held.generation)
    assert (view.state, view.openings) == (OPEN, 2)
    assert (await world.report(ASKED, view)).granted is False


async def test_only_the_holder_decides(world: World) -> None:
    """Neither success nor failure of another process ends the probe."""
    held = await world.probing()
    for act in (SUCCEEDED, OPENED, FAILED, RELEASED):
        view = await world.report(act, held, lease=held.generation - 1)
        assert (view.state, view.generation) == (HALF_OPEN, held.generation)


async def test_a_probe_that_fails_after_its_lease_keeps_the_circuit_open(world: World) -> None:
    """While no other process probes, its result is the newest one and counts."""
    held = await world.probing(lease_for=SHORT)
    await world.passes()
    assert (await world.report(OPENED, held)).state is OPEN


# What is late


async def test_what_began_before_a_change_is_late(world: World) -> None:
    """Reports of a process that has not learnt of the change are ignored."""
    held = await world.probing()
    closed = await world.report(SUCCEEDED, held, lease=held.generation)
    for act in (FAILED, OPENED, SUCCEEDED):
        view = await world.report(act, held, failures=3)
        assert (view.state, view.failures) == (CLOSED, 0)
    assert (await world.report(FAILED, closed)).failures == 1


async def test_a_late_success_does_not_end_failures_in_a_row(world: World) -> None:
    """It may have happened before they began."""
    held = await world.probing()
    closed = await world.report(SUCCEEDED, held, lease=held.generation)
    await world.report(FAILED, closed)
    assert (await world.report(SUCCEEDED, held)).failures == 1


async def test_a_change_long_ago_makes_nothing_late(world: World) -> None:
    """If the change is longer ago than `memory`, reports that began before it count again."""
    held = await world.probing()
    await world.report(SUCCEEDED, held, lease=held.generation)
    await world.passes()
    assert (await world.report(FAILED, held, patience=SHORT)).failures == 0
    assert (await world.report(FAILED, held, memory=SHORT)).failures == 1
    assert (await world.report(OPENED, held, memory=SHORT)).state is OPEN


async def test_a_circuit_that_opened_unseen_gets_its_lease(world: World) -> None:
    """A process whose circuit opened while the store was lost may still get the lease."""
    view = await world.report(ASKED, 12345)
    assert (view.state, view.granted) == (HALF_OPEN, True)


async def test_a_reset_closes_the_circuit(world: World) -> None:
    """It does so in any state, whichever process has the lease."""
    held = await world.probing()
    view = await world.report(RESET)
    assert (view.state, view.openings, view.failures) == (CLOSED, 0, 0)
    assert view.generation > held.generation


# Manual settings


async def test_the_last_manual_setting_is_kept(world: World) -> None:
    """Each has a stamp, which distinguishes a new setting from a known one."""
    first = await world.store.set_mode("https://api.test", "forced_open")
    second = await world.store.set_mode("https://other.test", "disabled")
    third = await world.store.set_mode("https://api.test", "automatic")
    modes = await world.store.modes()
    assert first is not None
    assert second is not None
    assert third is not None
    assert first < second < third
    assert modes == {
        "https://api.test": ("automatic", third),
        "https://other.test": ("disabled", second),
    }


async def test_there_are_no_manual_settings_at_first(world: World) -> None:
    """An answer without settings is not a lost store."""
    assert await world.store.modes() == {}


# Rates


async def test_tokens_come_one_after_the_other(world: World) -> None:
    """The second lease begins where the first one ends."""
    pace = Pace(1.0, 1)
    first = await world.store.lease("a", pace, 10, LONG)
    second = await world.store.lease("a", pace, 5, LONG)
    assert first == (10, 0.0, 0.0)
    assert second is not None
    assert second.tokens == 5
    assert 5.0 < second.first_in <= 10.0


async def test_a_burst_is_there_at_once(world: World) -> None:
    """The first tokens lie in the past, as many as the burst has."""
    lease = await world.store.lease("a", Pace(1.0, 4), 10, LONG)
    assert lease == (10, -3.0, 0.0)


async def test_no_token_is_taken_that_comes_too_late(world: World) -> None:
    """A caller that cannot wait takes no token from the others."""
    pace = Pace(1.0, 1)
    await world.store.lease("a", pace, 10, LONG)
    impatient = await world.store.lease("a", pace, 1, 2.0)
    patient = await world.store.lease("a", pace, 1, LONG)
    assert impatient is not None
    assert patient is not None
    assert (impatient.tokens, patient.tokens) == (0, 1)
    assert patient.first_in <= impatient.first_in <= 10.0


async def test_a_hold_back_ends_all_leases(world: World) -> None:
    """No tokens are given while it lasts; a shorter one does not end it earlier."""
    await world.store.hold_back("a", LONG)
    await world.store.hold_back("a", SHORT)
    lease = await world.store.lease("a", Pace(1.0, 1), 1, LONG)
    assert lease is not None
    assert lease.tokens == 0
    assert LONG - 10 < lease.held_for <= LONG


async def test_a_hold_back_is_over_after_its_time(world: World) -> None:
    """Then tokens are given again."""
    await world.store.hold_back("a", SHORT)
    await world.passes()
    lease = await world.store.lease("a", Pace(1.0, 1), 1, LONG)
    assert lease is not None
    assert (lease.tokens, lease.held_for) == (1, 0.0)
