import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from walltrack.simulation import clock
from walltrack.simulation.faults import Fault
from walltrack.simulation.run import MakeTransport, compare, simulate, sweep
from walltrack.simulation.scenario import Callers, Scenario
from walltrack.simulation.stacks import bare, naive

SHORT = Scenario(
    name="short",
    seconds=20.0,
    faults=(Fault(kind="refuse", begins=5.0, ends=8.0),),
    callers=Callers(rate=10.0, clients=3),
)
STEADY = Scenario(name="steady", seconds=5.0, callers=Callers(rate=10.0, clients=3))


class Jittery(httpx.AsyncBaseTransport):
    """Waits at random before it sends."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(random.random())  # noqa: S311 - a model
        return await self.inner.handle_async_request(request)


def test_a_blackout_costs_what_it_lasts() -> None:
    """Bare httpx fails while connections are refused, and at no other time."""
    report = simulate(bare, SHORT, seeds=5)
    assert report.during == 0.0
    assert report.after == 1.0
    assert report.success == pytest.approx(17 / 20, abs=0.05)
    assert set(report.failures) == {"ConnectError"}
    assert [run.seed for run in report.runs] == [1, 2, 3, 4, 5]
    assert report.oracle > report.success


def test_runs_repeat_to_the_last_digit() -> None:
    """The same seed gives the same result, also if the stack uses random numbers."""
    random.seed(1)
    first = repr(simulate(Jittery, SHORT, seeds=[7]))
    random.seed(2)
    assert first == repr(simulate(Jittery, SHORT, seeds=[7]))
    assert first != repr(simulate(Jittery, SHORT, seeds=[8]))


def test_the_randomness_of_the_program_is_left_as_it_was() -> None:
    """A simulation has a random generator of its own."""
    random.seed(1)
    expected = random.random()  # noqa: S311 - a model
    random.seed(1)
    simulate(Jittery, STEADY, seeds=1)
    assert random.random() == expected  # noqa: S311 - a model


def test_all_stacks_see_the_same_calls() -> None:
    """The calls do not depend on the stack."""
    reports = compare({"bare": bare, "naive": naive}, SHORT, seeds=2)
    assert list(reports) == ["bare", "naive"]
    assert reports["bare"].begun == reports["naive"].begun
    assert reports["bare"].oracle == reports["naive"].oracle
    assert reports["bare"].success < reports["naive"].success


def test_a_scenario_can_be_named() -> None:
    """The name is that of a kind of outage or of a standard scenario."""
    assert simulate(bare, "A", seeds=1).success == 1.0


def test_a_sweep_reports_each_scenario() -> None:
    """The reports are in order; progress is reported for each scenario and seed."""
    steps: list[int] = []
    results = sweep({"bare": bare}, [SHORT, STEADY], seeds=[3, 4], progress=lambda: steps.append(1))
    assert [reports["bare"].scenario.name for reports in results] == ["short", "steady"]
    assert [[run.seed for run in reports["bare"].runs] for reports in results] == [[3, 4]] * 2
    assert results[0]["bare"].success < results[1]["bare"].success == 1.0
    assert len(steps) == 4


def test_several_processes_give_the_same_report() -> None:
    """The reports are identical."""
    alone, spread = (compare({"n": naive}, SHORT, seeds=2, processes=n) for n in (1, 2))
    assert repr(alone) == repr(spread)


def test_what_cannot_go_to_another_process_is_refused() -> None:
    """The error says what could be passed instead."""
    with pytest.raises(TypeError, match="must be importable"):
        simulate(lambda inner: inner, STEADY, processes=2)


def test_a_client_runs_with_its_whole_code() -> None:
    """And fares as a transport does, to the last digit: a client takes no virtual time."""

    def client(inner: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=naive(inner))

    reports = compare({"transport": naive, "client": client}, SHORT, seeds=2)
    assert repr(reports["transport"]) == repr(reports["client"])


def test_each_client_has_a_transport_of_its_own_and_virtual_time() -> None:
    """Made in the event loop, so that what reads a clock when it is made reads the right one."""
    made: list[tuple[object, float | None, float]] = []

    def make(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        made.append((inner, clock.virtual_now(), time.monotonic()))
        return inner

    simulate(make, STEADY, seeds=1)
    assert len({id(inner) for inner, _, _ in made}) == 3
    assert [moments for _, *moments in made] == [[0.0, 0.0]] * 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"make_transport": lambda _: None}, TypeError),
        ({"scenario": "unknown"}, ValueError),
        ({"scenario": 5}, TypeError),
        ({"seeds": 0}, ValueError),
        ({"seeds": []}, ValueError),
        ({"processes": 0}, ValueError),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    """It is rejected before anything is simulated."""
    standard: dict[str, Any] = {"make_transport": bare, "scenario": STEADY}
    with pytest.raises(error):
        simulate(**standard | arguments)


def test_nothing_is_compared_with_nothing() -> None:
    """A comparison needs at least one stack."""
    with pytest.raises(ValueError, match="at least one stack"):
        compare({}, STEADY)


def test_it_says_how_to_be_called_in_a_running_loop() -> None:
    """A loop runs one at a time in a thread."""

    async def main() -> Sequence[float]:
        with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
            simulate(bare, STEADY, seeds=1)
        report = await asyncio.to_thread(simulate, bare, STEADY, seeds=1)
        return [report.success]

    assert asyncio.run(main()) == [1.0]


def test_what_a_stack_is_made_by_can_fail() -> None:
    """A bug in it reaches the caller, and the clocks are real again."""
    before = time.monotonic

    def broken(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        raise LookupError(inner)

    make: MakeTransport = broken
    with pytest.raises(LookupError):
        simulate(make, STEADY, seeds=1)
    assert time.monotonic is before
