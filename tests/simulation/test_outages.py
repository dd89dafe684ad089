"""A few cells of the table of outages: what no change may lose sight of.

Each is one standard scenario and one stack, by a few seeds. The whole table is
`python -m tests.benchmarks.outages`.
"""

from dataclasses import replace

import httpx
import pytest

from walltrack import CircuitBreakerTransport, RetryTransport, resilient_transport
from walltrack.simulation import STANDARD, simulate
from walltrack.simulation.stacks import bare, naive, recommended

SEEDS = 3


def story(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Retries around breakers, with the defaults of the classes."""
    return RetryTransport(CircuitBreakerTransport(inner, listener=None), listener=None)


@pytest.mark.parametrize(
    ("stack", "scenario", "success"),
    [
        (bare, "D10", 0.89),
        (story, "D10", 0.64),
        (bare, "E10", 0.84),
        (story, "E10", 0.62),
        (bare, "J", 0.61),
        (story, "Jc", 0.21),
        (bare, "K", 0.90),
    ],
)
def test_a_cell_is_what_it_was_measured_to_be(stack: object, scenario: str, success: float) -> None:
    """Within a few points, which is what three seeds can show."""
    report = simulate(stack, scenario, seeds=SEEDS)  # type: ignore[arg-type]
    assert report.success == pytest.approx(success, abs=0.04)


def test_naive_retries_never_recover_from_a_brownout() -> None:
    """They keep the service at three times its usual load, in every run."""
    report = simulate(naive, "E10", seeds=SEEDS)
    assert report.success == pytest.approx(0.11, abs=0.04)
    assert report.never_recovered == SEEDS
    assert report.after < 0.02
    assert report.load > 2.5


@pytest.mark.parametrize(
    ("scenario", "success"),
    [("D10", 0.934), ("E10", 0.899), ("F", 0.845), ("H", 0.908), ("J", 0.656), ("K", 0.998)],
)
def test_the_recommended_stack_recovers(scenario: str, success: float) -> None:
    """From every outage that ends, in every run, and fares as measured, at most as is possible.

    In none of these is bare httpx as good. An oracle is the upper bound, within what chance allows.
    """
    report = simulate(recommended, scenario, seeds=SEEDS)
    assert report.never_recovered == 0
    assert report.success == pytest.approx(success, abs=0.02)
    assert report.success <= report.oracle + 0.005


@pytest.mark.parametrize("scenario", ["E10", "F"])
def test_fifty_clients_recover_too(scenario: str) -> None:
    """Each of them has a budget of its own, so that all of them together could keep it down."""
    crowd = STANDARD[scenario]
    crowd = replace(crowd, callers=replace(crowd.callers, clients=50))
    report = simulate(recommended, crowd, seeds=SEEDS)
    assert report.never_recovered == 0
    assert report.success > 0.7
    assert report.load < 1.3


def test_retries_alone_recover_by_their_budget() -> None:
    """Where the naive loop never does."""
    report = simulate(lambda inner: RetryTransport(inner, listener=None), "E10", seeds=SEEDS)
    assert report.never_recovered == 0
    assert report.success > 0.55


def of_a_client(inner: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    """The recommended stack beneath a client."""
    return httpx.AsyncClient(transport=resilient_transport(inner, listener=None))


@pytest.mark.parametrize("scenario", ["D10", "L"])
def test_calls_by_a_client_fare_as_calls_by_its_transport(scenario: str) -> None:
    """To the last digit: what a client adds takes no virtual time."""
    direct, through_a_client = (
        simulate(stack, scenario, seeds=1) for stack in (recommended, of_a_client)
    )
    assert repr(through_a_client) == repr(direct)
