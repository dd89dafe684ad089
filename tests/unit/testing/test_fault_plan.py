from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from walltrack.testing.fault_plan import NO_CUT, Fault, FaultCounts, FaultPlan

DEFAULTS: dict[str, Any] = {
    "error_rate": 0.0,
    "errors": (httpx.ConnectError, httpx.ReadTimeout),
    "status_rate": 0.0,
    "statuses": (503,),
    "latency_rate": 0.0,
    "latency": 0.1,
    "cut_rate": 0.0,
    "seed": 1,
}


def plan(**options: Any) -> FaultPlan:  # noqa: ANN401 - handed on
    """A plan with a seed and no faults beyond those asked for."""
    return FaultPlan(**{**DEFAULTS, **options})


def faults(count: int, **options: Any) -> Iterator[Fault]:  # noqa: ANN401 - handed on
    """The faults of the first `count` requests."""
    decided = plan(**options)
    return (decided.next() for _ in range(count))


def test_nothing_happens_unless_asked_for() -> None:
    """Without a rate there is no fault."""
    assert set(faults(1000)) == {Fault()}


@pytest.mark.parametrize("kind", ["error_rate", "status_rate", "cut_rate", "latency_rate"])
def test_a_rate_of_one_befalls_every_request(kind: str) -> None:
    """The rate of one kind of fault does not affect other kinds."""
    for fault in faults(1000, **{kind: 1.0}):
        assert (fault.error is not None) == (kind == "error_rate")
        assert (fault.status is not None) == (kind == "status_rate")
        assert (fault.cut != NO_CUT) == (kind == "cut_rate")
        assert (fault.latency > 0.0) == (kind == "latency_rate")


def test_rates_are_shares_of_all_requests() -> None:
    """Each kind has its share of 20,000; a request has at most one error, status or cut."""
    drawn = list(
        faults(20_000, error_rate=0.1, status_rate=0.2, cut_rate=0.3, latency_rate=0.5, seed=7)
    )
    errors = [fault.error for fault in drawn if fault.error]
    late_errors = [fault for fault in drawn if fault.error and fault.latency]
    assert len(errors) / 20_000 == pytest.approx(0.1, abs=0.01)
    assert sum(fault.status is not None for fault in drawn) / 20_000 == pytest.approx(0.2, abs=0.01)
    assert sum(fault.cut != NO_CUT for fault in drawn) / 20_000 == pytest.approx(0.3, abs=0.01)
    assert len(late_errors) / len(errors) == pytest.approx(0.5, abs=0.05)
    for fault in drawn:
        assert (fault.error is not None) + (fault.status is not None) + (fault.cut != NO_CUT) <= 1
    share = errors.count(httpx.ConnectError) / len(errors)
    assert share == pytest.approx(0.5, abs=0.05)


def test_rates_may_fill_the_whole() -> None:
    """Rates that add up to 1 are accepted despite rounding errors."""
    drawn = faults(1000, error_rate=0.1, status_rate=0.7, cut_rate=0.2)
    assert all(fault != Fault() for fault in drawn)


def test_the_same_seed_gives_the_same_faults() -> None:
    """Another seed gives other faults; without a seed, each plan has others."""
    options = {"error_rate": 0.3, "status_rate": 0.3, "cut_rate": 0.3, "latency_rate": 0.5}
    first, again, other, *unseeded = (
        list(faults(100, **options, seed=seed)) for seed in (1, 1, 2, None, None)
    )
    assert first == again
    assert first != other
    assert unseeded[0] != unseeded[1]


def test_one_kind_of_fault_does_not_change_another() -> None:
    """Latency added to a plan leaves its errors where they were."""
    without = [fault.error for fault in faults(500, error_rate=0.3)]
    beside = [fault.error for fault in faults(500, error_rate=0.3, latency_rate=0.7)]
    assert without == beside


def test_the_order_of_what_can_happen_does_not_matter() -> None:
    """A set of classes, whose order differs in each run, gives the same faults."""
    kinds = [httpx.ReadError, httpx.ConnectError, httpx.PoolTimeout, OSError]
    one = [fault.error for fault in faults(50, error_rate=1.0, errors=kinds)]
    assert one == [fault.error for fault in faults(50, error_rate=1.0, errors=kinds[::-1])]
    statuses = [fault.status for fault in faults(50, status_rate=1.0, statuses=[503, 429])]
    assert statuses == [fault.status for fault in faults(50, status_rate=1.0, statuses={429, 503})]
    assert len(set(one)) == 4


def test_what_is_named_twice_comes_twice_as_often() -> None:
    """Repeating a value gives it more weight."""
    drawn = [fault.status for fault in faults(9000, status_rate=1.0, statuses=(429, 503, 503))]
    assert drawn.count(503) / drawn.count(429) == pytest.approx(2.0, abs=0.2)


def test_latency_lies_in_its_span() -> None:
    """It is anywhere between low and high, or always the same."""
    spread = [fault.latency for fault in faults(1000, latency_rate=1.0, latency=(0.2, 0.4))]
    assert 0.2 <= min(spread) < 0.22
    assert 0.38 < max(spread) <= 0.4
    assert {fault.latency for fault in faults(10, latency_rate=1.0, latency=2)} == {2.0}


def test_a_cut_is_a_share_of_the_body() -> None:
    """It is at a position from its beginning to just before its end."""
    cuts = [fault.cut for fault in faults(1000, cut_rate=1.0)]
    assert 0.0 <= min(cuts) < 0.01
    assert 0.99 < max(cuts) < 1.0


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"error_rate": 1.1}, ValueError, "error_rate must be at most 1, got 1.1"),
        ({"status_rate": -0.1}, ValueError, "status_rate must be a finite number of at least 0"),
        ({"cut_rate": float("nan")}, ValueError, "cut_rate must be"),
        ({"latency_rate": 2}, ValueError, "latency_rate must be at most 1, got 2"),
        ({"latency_rate": "0.5"}, TypeError, "latency_rate must be a number"),
        (
            {"error_rate": 0.5, "status_rate": 0.5, "cut_rate": 0.25},
            ValueError,
            r"error_rate \+ status_rate \+ cut_rate must be at most 1, got 1.25",
        ),
        ({"errors": ()}, ValueError, "errors must not be empty"),
        ({"errors": httpx.ReadError}, TypeError, "errors must be a collection"),
        ({"errors": [KeyboardInterrupt]}, TypeError, "errors must be subclasses of Exception"),
        ({"statuses": []}, ValueError, "statuses must not be empty"),
        ({"statuses": 503}, TypeError, "statuses must be a collection"),
        ({"statuses": [42]}, ValueError, "statuses must be HTTP statuses from 100 to 599"),
        ({"latency": -1.0}, ValueError, "latency must be a finite number of at least 0"),
        ({"latency": (0.1, -0.2)}, ValueError, "latency must be a finite number of at least 0"),
        ({"latency": (0.2, 0.1)}, ValueError, r"latency must be \(low, high\), got \(0.2, 0.1\)"),
        ({"latency": (1, 2, 3)}, ValueError, r"latency must be a number or \(low, high\)"),
        ({"latency": "fast"}, TypeError, "latency must be a number"),
        ({"seed": "abc"}, TypeError, "seed must be a"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=text):
        plan(**options)


def test_it_says_what_it_was_asked_for() -> None:
    """Its repr has the rates that are not zero, and the seed."""
    assert str(plan(error_rate=0.1, cut_rate=0.5)) == "error_rate=0.1, cut_rate=0.5, seed=1"
    assert str(plan(seed=None)) == ""


def test_counts_add_up() -> None:
    """The total is the number of all faults."""
    assert FaultCounts().total == 0
    assert FaultCounts(latencies=1, errors=2, statuses=3, cuts=4).total == 10
