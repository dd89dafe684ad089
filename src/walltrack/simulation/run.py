"""Run stacks through outages: `simulate` one, `compare` several, `sweep` many scenarios."""

import asyncio
import itertools
import multiprocessing
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Final

import httpx

from walltrack.core import validation
from walltrack.simulation.arrivals import Arrival, arrivals
from walltrack.simulation.clients import Target, call_all
from walltrack.simulation.clock import run_virtually, virtual_clock_functions
from walltrack.simulation.measure import measured
from walltrack.simulation.oracle import most_successes
from walltrack.simulation.quiet import silence
from walltrack.simulation.report import Report, Run
from walltrack.simulation.scenario import Scenario
from walltrack.simulation.service import SimulatedService
from walltrack.simulation.standard import scenario_named

_SHARES: Final = 16
"""Into how many parts the work of each process is divided."""

MakeTransport = Callable[[httpx.AsyncBaseTransport], Target]
"""Builds the stack of one client around the transport to the simulated service."""


def simulate(
    make_transport: MakeTransport,
    scenario: Scenario | str,
    *,
    seeds: int | Iterable[int] = 10,
    processes: int = 1,
) -> Report:
    """Simulate an outage, and report how the calls through a stack end.

            def test_most_calls_survive_a_short_blackout() -> None:
                report = simulate(lambda inner: resilient_transport(inner), "blackout")
                assert report.success > 0.9

    All code that runs is real, except the service and the time. `make_transport` is called once for
    each client, in the event loop of the run; its argument replaces an `httpx.AsyncHTTPTransport`.
    Do not give your stack a clock or a sleep: it runs in an asyncio event loop whose time is
    virtual. `asyncio.sleep`, the timeouts of asyncio and anyio, `time.monotonic`, `time.time` and
    `time.perf_counter` use it, also as default values of parameters, such as the clocks of this
    library. `datetime.now()` does not, nor do the clocks of objects that were made before; sockets
    and threads cannot be used.

    Runs with the same seed have identical results, and the same calls for every stack. For this,
    the module `random` is seeded in each run and restored afterwards. A stack with another source
    of randomness is not deterministic.

    Call it outside of any event loop; in an async test, by `asyncio.to_thread`.

    Args:
        make_transport: Builds the stack around the transport to the service. It returns a
            transport, or an `httpx.AsyncClient`, whose complete code runs then as well.
        scenario: What is simulated: a `Scenario`, or the name of one, such as "blackout" or "D10".
        seeds: How many runs to make, or the seeds of the runs. Default: the seeds 1 to 10.
        processes: In how many processes to run. Default: in this one. With more than one,
            `make_transport` must be importable (a function at the top of a module), and its log
            entries are dropped.

    Raises:
        TypeError: An argument has another type, or `make_transport` does not return a transport.
        ValueError: The scenario is unknown, or there is no seed.
        RuntimeError: The stack waits for something that is not simulated, or an event loop runs.
    """
    return compare({"": make_transport}, scenario, seeds=seeds, processes=processes)[""]


def compare(
    stacks: Mapping[str, MakeTransport],
    scenario: Scenario | str,
    *,
    seeds: int | Iterable[int] = 10,
    processes: int = 1,
    progress: Callable[[], object] | None = None,
) -> dict[str, Report]:
    """Simulate an outage for several stacks; all of them see the same calls.

    Args:
        stacks: Functions as for `simulate`, by name.
        scenario: What is simulated.
        seeds: How many runs to make of each stack, or the seeds of the runs.
        processes: In how many processes to run.
        progress: Called for each seed when all its runs are done.

    Returns:
        The reports, by the names of the stacks.
    """
    found = scenario_named(scenario) if isinstance(scenario, str) else scenario
    return sweep(stacks, [found], seeds=seeds, processes=processes, progress=progress)[0]


def sweep(
    stacks: Mapping[str, MakeTransport],
    scenarios: Sequence[Scenario],
    *,
    seeds: int | Iterable[int] = 10,
    processes: int = 1,
    progress: Callable[[], object] | None = None,
) -> list[dict[str, Report]]:
    """Simulate several outages, each as by `compare`.

    Args:
        stacks: Functions as for `simulate`, by name.
        scenarios: What is simulated.
        seeds: How many runs to make of each stack in each scenario, or the seeds of the runs.
        processes: In how many processes to run.
        progress: Called for each scenario and seed when all its runs are done.

    Returns:
        For each scenario the reports, by the names of the stacks.
    """
    for scenario in scenarios:
        validation.instance("scenario", scenario, Scenario)
    validation.integer("processes", processes, minimum=1)
    if not stacks:
        raise ValueError("stacks must name at least one stack")
    chosen = _seeds(seeds)
    jobs = [_Job(dict(stacks), scenario, seed) for scenario in scenarios for seed in chosen]
    done: list[dict[str, Run]] = []
    for runs in _runs_of(jobs, processes):
        done.append(runs)
        if progress is not None:
            progress()
    reports = []
    for number, scenario in enumerate(scenarios):
        of_scenario = done[number * len(chosen) : (number + 1) * len(chosen)]
        reports.append(
            {name: Report(scenario, tuple(runs[name] for runs in of_scenario)) for name in stacks}
        )
    return reports


@dataclass(frozen=True, slots=True)
class _Job:
    """All runs of a scenario with one seed; the clocks must be virtual."""

    stacks: dict[str, MakeTransport]
    scenario: Scenario
    seed: int

    def __call__(self) -> dict[str, Run]:
        rng = Random(f"{self.seed}-arrivals")  # noqa: S311 - a model, no secret
        expected = list(arrivals(self.scenario, rng))
        rng = Random(f"{self.seed}-oracle")  # noqa: S311 - a model, no secret
        oracle = most_successes(self.scenario, expected, rng) / len(expected)
        return {
            name: self._run(make_transport, expected, oracle)
            for name, make_transport in self.stacks.items()
        }

    def _run(
        self, make_transport: MakeTransport, expected: Sequence[Arrival], oracle: float
    ) -> Run:
        state = random.getstate()
        random.seed(f"{self.seed}-stack")
        try:
            return run_virtually(lambda: self._calls(make_transport, expected, oracle))
        finally:
            random.setstate(state)

    async def _calls(
        self, make_transport: MakeTransport, expected: Sequence[Arrival], oracle: float
    ) -> Run:
        rng = Random(f"{self.seed}-service")  # noqa: S311 - a model, no secret
        service = SimulatedService(self.scenario, rng, asyncio.get_running_loop())
        callers = self.scenario.callers
        targets = [make_transport(service.transport()) for _ in range(callers.clients)]
        for target in targets:
            validation.instance("what make_transport returns", target, Target)
        calls = await call_all(expected, targets, callers)
        return measured(self.seed, self.scenario, calls, service, oracle)


def _runs_of(jobs: Sequence[_Job], processes: int) -> Iterator[dict[str, Run]]:
    # Few parts, since each replaces the clocks; but enough to distribute them evenly.
    size = max(len(jobs) // (processes * _SHARES), 1)
    batches = [jobs[first : first + size] for first in range(0, len(jobs), size)]
    if processes == 1:
        yield from itertools.chain.from_iterable(map(_done, batches))
        return
    try:
        pickle.dumps(jobs)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise TypeError(
            "with more than one process, make_transport must be importable: a function at the top "
            f"of a module ({error})"
        ) from error
    # A fork would copy the state of libraries that have threads.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=silence) as pool:
        yield from itertools.chain.from_iterable(pool.map(_done, batches))


def _done(jobs: Sequence[_Job]) -> list[dict[str, Run]]:
    with virtual_clock_functions():
        return [job() for job in jobs]


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    if isinstance(seeds, int):
        validation.integer("seeds", seeds, minimum=1)
        return list(range(1, seeds + 1))
    chosen = list(seeds)
    if not chosen:
        raise ValueError("seeds must name at least one seed")
    return chosen
