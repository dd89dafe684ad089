"""The random scenarios of tests/scenarios over real sockets, with pools of httpx and httpx2.

Time is real, fifty times as fast, so that what depends on exact moments is left to virtual time.
`--scenario-seed` runs one of them again; unlike there, it need not end alike.
"""

import gc
import math
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Final

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.integration.fault_server import running
from tests.integration.layered import short_collections
from tests.integration.socket_world import SPEED, FastTime, ReplyServer, SocketWorld
from tests.scenarios import invariants
from tests.scenarios.attempts import READ_TIMEOUT
from tests.scenarios.callers import Pace, Report, Run
from tests.scenarios.layers import current
from tests.scenarios.plan import Call, Layer, Reply, Scenario, draw
from tests.scenarios.run import complaining
from tests.support import ConnectionBody, until

DEFAULT: Final = 100
"""Scenarios, a quarter of them for each event loop and family."""

AT_ONCE: Final = 8
ENOUGH: Final = 6.0
"""Seconds of a scenario's time that nothing in it takes longer than."""

PACE: Final = Pace(
    too_long=20 * SPEED,
    a_while=2 * ENOUGH,
    between=3.0,
    slack=math.inf,
    timeout=httpx.Timeout(5.0, read=READ_TIMEOUT / SPEED).as_dict(),
)
INVARIANTS: Final = [
    check for check in invariants.INVARIANTS if check is not invariants.rates_are_kept
]


@pytest.fixture(scope="module", autouse=True)
def _short_collections() -> Iterator[None]:
    with short_collections():
        yield


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
    if layer["cooldown"] is None:
        return layer
    options = {"cooldown": min(layer["cooldown"], ENOUGH), "grows": False}
    return Layer(layer.kind, {**layer.options, **options})


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


async def run_all(scenarios: list[Scenario], server: ReplyServer) -> list[Report]:
    """Run scenarios, several at a time."""
    reports: list[Report] = []
    places = anyio.Semaphore(AT_ONCE)

    async def run(scenario: Scenario) -> None:
        async with places:
            time = FastTime()
            family = {"httpx": httpx}.get(scenario.family) or __import__(scenario.family)
            world = lambda reply_for, on_step: SocketWorld(
                time, server, family, reply_for, on_step, current
            )
            reports.append(await Run(scenario, time, world, PACE).all())

    async with anyio.create_task_group() as tasks:
        for scenario in scenarios:
            tasks.start_soon(run, scenario)
    await until(lambda: server.server.open_connections == 0)
    gc.collect()
    await anyio.lowlevel.checkpoint()
    return reports


# httpcore leaves the request's body suspended when it is cancelled, or fails, while sending it; and
# httpx that of a response which is closed early.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whatever_happens_over_sockets(
    backend: str, family: ModuleType, pytestconfig: pytest.Config
) -> None:
    """All that must hold holds, every connection of a pool is free at the end, and then closed."""
    only = pytestconfig.getoption("scenario_seed")
    count = max(DEFAULT, (pytestconfig.getoption("scenarios") or 0) // 20) // 4
    first = (backend == "trio") * 2 + (family is not httpx)
    seeds = range(first, 4 * count, 4) if only is None else [only]
    complaints: list[str] = []

    async def main() -> list[Report]:
        with complaining(complaints):
            return await run_all([tamed(draw(s), backend, family) for s in seeds], server)

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
    assert [*wrong, *complaints, *ConnectionBody.misreads] == []
