"""The random scenarios of tests/scenarios over real sockets, with pools of httpx and httpx2.

Time is real, fifty times as fast, so that what depends on exact moments is left to virtual time.
`--scenario-seed` runs one of them again; unlike there, it need not end alike.
"""

import contextlib
import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Final

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.integration.fault_server import running
from tests.integration.layered import shorten_collections
from tests.integration.socket_world import SPEED, FastTime, ReplyServer, SocketWorld
from tests.scenarios import invariants
from tests.scenarios.attempts import READ_TIMEOUT
from tests.scenarios.broken import LeavesOpen
from tests.scenarios.callers import Pace, Report, Run
from tests.scenarios.layers import current
from tests.scenarios.plan import Call, Layer, Reply, Scenario, draw
from tests.scenarios.run import complaining
from tests.support import ConnectionBody, until

DEFAULT: Final = 100
"""Scenarios, shared out between the event loops and pools."""

AT_ONCE: Final = 20
ENOUGH: Final = 6.0
"""Seconds of a scenario's time, which no wait of its plan is longer than."""

LEAST: Final = 3.0
"""Seconds of a scenario's time, which no limit is shorter than."""

# httpcore leaves the request's body suspended when it is cancelled, or fails, while sending it; and
# httpx that of a response which is closed early.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # connections are counted
]

PACE: Final = Pace(
    too_long=20 * SPEED,
    a_while=2 * ENOUGH,
    between=3.0,
    asks=12,
    slack=math.inf,
    timeout=(5.0, READ_TIMEOUT / SPEED, 5.0, 5.0),
)
INVARIANTS: Final = [
    check for check in invariants.INVARIANTS if check is not invariants.rates_are_kept
]


@pytest.fixture(scope="module", autouse=True)
def _short_collections() -> None:
    shorten_collections()


def tamed(scenario: Scenario, backend: str, family: ModuleType) -> Scenario:
    """Return a scenario whose waits are over soon, for an event loop and a family."""
    natively = backend == "asyncio"
    return replace(
        scenario,
        backend=backend,
        family=family.__name__,
        layers=tuple(map(_tamed_layer, scenario.layers)),
        calls=tuple(_tamed_call(call, natively=natively) for call in scenario.calls),
        incidents=tuple(replace(i, at=min(i.at, ENOUGH)) for i in scenario.incidents),
        foreign=False,
    )


def _tamed_layer(layer: Layer) -> Layer:
    options = dict(layer.options)
    for name in ("seconds", "deadline", "attempt_timeout"):
        if layer[name] is not None:  # a busy machine takes its time
            options[name] = max(layer[name], LEAST)
    if layer["cooldown"] is not None:
        options |= {"cooldown": min(layer["cooldown"], ENOUGH), "grows": False}
    if layer["window"] == "time":  # nor must it be slow
        options["window"] = "count"
    return Layer(layer.kind, options)


def _tamed_call(call: Call, *, natively: bool) -> Call:
    return replace(
        call,
        at=min(call.at, ENOUGH),
        natively=call.natively and natively,
        replies=tuple(map(_tamed_reply, call.replies)),
    )


def _tamed_reply(reply: Reply) -> Reply:
    asked = reply.retry_after
    return replace(reply, retry_after=None if asked is None else min(asked, int(ENOUGH)))


def seeds_for(request: pytest.FixtureRequest) -> Sequence[int]:
    """Return the share of the seeds for an event loop and a pool, or the one that is asked for."""
    only = request.config.getoption("scenario_seed")
    if only is not None:
        return [only]
    count = max(DEFAULT, (request.config.getoption("scenarios") or 0) // 20)
    at: dict[str, int] = request.node.callspec.indices
    return range(2 * at["family"] + at["backend"], count, 6)


def _interrupts(scenario: Scenario) -> bool:
    """Whether a scenario cancels attempts, or closes the pool, at any moment."""
    cancelled = any(c.cancel_after is not None or c.cancel_at for c in scenario.calls)
    cancels = {layer.kind for layer in scenario.layers} & {"hedge", "timeout", "stack"}
    return bool(cancelled or cancels or scenario.incidents or scenario.raises)


async def run_all(
    scenarios: list[Scenario], family: ModuleType, server: ReplyServer
) -> list[Report]:
    """Run scenarios, several at a time."""
    places = anyio.Semaphore(AT_ONCE)
    ran: list[tuple[Report, SocketWorld]] = []

    async def run(scenario: Scenario) -> None:
        time, made = FastTime(), list[SocketWorld]()
        # httpcore loses connections, and places in its pool; our transport does not.
        loses_none = not (family is httpx and _interrupts(scenario))

        def make_world(
            reply_for: Callable[[int, int], Reply], on_step: Callable[[int], None]
        ) -> SocketWorld:
            made.append(
                SocketWorld(
                    time,
                    server,
                    family,
                    loses_none=loses_none,
                    reply_for=reply_for,
                    on_step=on_step,
                    passage=current,
                )
            )
            return made[0]

        async with places:
            report = await Run(scenario, time, make_world, PACE).all()
        ran.append((report, made[0]))

    async with anyio.create_task_group() as tasks:
        for scenario in scenarios:
            tasks.start_soon(run, scenario)
    with contextlib.suppress(TimeoutError):
        await until(lambda: not any(world.open_connections for _, world in ran), 2.0)
    for report, world in ran:
        if world.loses_none and world.open_connections:
            report.recovered.append(f"{world.open_connections} connections are left open")
    gc.collect()
    await anyio.lowlevel.checkpoint()
    return [report for report, _ in ran]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whatever_happens_over_sockets(
    backend: str, family: ModuleType, request: pytest.FixtureRequest
) -> None:
    """All invariants hold; in the end, every connection of a pool is free and then closed."""
    seeds = seeds_for(request)
    complaints: list[str] = []

    async def main() -> list[Report]:
        with complaining(complaints):
            scenarios = [tamed(draw(seed), backend, family) for seed in seeds]
            return await run_all(scenarios, family, server)

    with running() as fault_server:
        server = ReplyServer(fault_server)
        reports = anyio.run(main, backend=backend)
    assert len(reports) == len(seeds)
    wrong = [
        f"{check.__name__}: {found}\n{report.scenario}"
        for report in reports
        for check in INVARIANTS
        for found in check(report)
    ]
    wrong += [*complaints, *ConnectionBody.misreads]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_a_lost_connection_is_found_out() -> None:
    """A layer that leaves a response open keeps a connection from its pool."""
    layers = (Layer("broken", {"make": LeavesOpen}),)
    scenario = tamed(Scenario(0, layers=layers, calls=(Call(),)), "asyncio", httpx)

    async def main() -> list[Report]:
        return await run_all([scenario], httpx, server)

    with running() as fault_server:
        server = ReplyServer(fault_server, patience=0.2)
        (report,) = anyio.run(main)
    assert any("a connection of the pool is not free" in wrong for wrong in report.recovered)
    assert any(invariants.nothing_is_left_open(report))
