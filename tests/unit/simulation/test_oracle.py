import random
from collections.abc import Sequence
from typing import Any

import pytest

from walltrack.simulation.arrivals import Arrival
from walltrack.simulation.faults import Fault
from walltrack.simulation.observation import Observation
from walltrack.simulation.oracle import most_successes
from walltrack.simulation.scenario import Callers, Latency, Quota, Scenario, Service

ONE_A_SECOND = Service(workers=1, latency=Latency(minimum=1.0, tail=0.0))
PATIENT = Callers(patience=10.0, clients=2)


def possible(
    times: Sequence[float],
    *faults: Fault,
    service: Service = ONE_A_SECOND,
    callers: Callers = PATIENT,
    hosts: Sequence[str] = ("api.test",),
    **more: Any,  # noqa: ANN401 - any field
) -> int:
    """How many calls at these times can succeed."""
    scenario = Scenario(
        name="x", seconds=1000.0, service=service, callers=callers, faults=faults, **more
    )
    calls = [Arrival(at, n % 2, hosts[n % len(hosts)]) for n, at in enumerate(times)]
    return most_successes(scenario, calls, random.Random(1))  # noqa: S311 - a model


def test_all_succeed_where_there_is_room() -> None:
    """One a second is what it bears."""
    assert possible(range(100)) == 100


def test_no_more_succeed_than_the_service_can_do_in_time() -> None:
    """Of 50 calls at once, those succeed that end within 10 s."""
    assert possible([0.0] * 50) == 10


def test_without_patience_all_succeed_some_day() -> None:
    """Nothing is too late then."""
    assert possible([0.0] * 50, callers=Callers(patience=None)) == 50


def test_calls_wait_for_the_end_of_an_outage() -> None:
    """Those that still have time for their work when the service is back."""
    down = Fault(kind="refuse", begins=0.0, ends=20.0)
    assert possible([5.0, 9.0, 10.9, 12.0, 19.0], down) == 2


def test_what_was_accepted_is_worked_on_through_an_outage() -> None:
    """Refused connections do not stop the workers."""
    down = Fault(kind="refuse", begins=0.5, ends=100.0)
    assert possible([0.0] * 5 + [1.0], down) == 5


def test_a_brownout_takes_its_share_of_the_work() -> None:
    """Each call takes five times as long, so that two of them end in time."""
    assert possible([0.0] * 5, Fault(kind="slow", factor=5.0)) == 2


def test_late_answers_free_their_workers_but_have_to_be_in_time() -> None:
    """All begin one after the other; the last ones would be too late."""
    assert possible([0.0] * 20, Fault(kind="late", factor=5.0)) == 6


def test_only_backends_that_are_up_are_asked() -> None:
    """An oracle does not draw lots."""
    service = Service(workers=1, backends=2, latency=ONE_A_SECOND.latency)
    assert possible(range(100), Fault(kind="refuse", backend=0), service=service) == 100
    both = Fault(kind="refuse", backend=0), Fault(kind="blackhole", backend=1)
    assert possible(range(100), *both, service=service) == 0


def test_the_fastest_worker_is_preferred() -> None:
    """The one whose backend is not slowed down."""
    service = Service(workers=1, backends=2, latency=ONE_A_SECOND.latency)
    slow = Fault(kind="slow", factor=100.0, backend=0)
    calls = [at + more for at in range(0, 100, 2) for more in (0.0, 0.5)]
    assert possible(calls, slow, service=service) == 100


def test_hosts_do_not_help_each_other() -> None:
    """Calls to a host that is down fail, however idle another one is."""
    service = Service(workers=1, hosts=("a", "b"), latency=ONE_A_SECOND.latency)
    assert possible(range(100), Fault(kind="refuse", host="a"), service=service, hosts="ab") == 50


@pytest.mark.parametrize(("per_client", "expected"), [(False, 13), (True, 26)])
def test_a_quota_limits_what_is_accepted(expected: int, *, per_client: bool) -> None:
    """A burst of 3, and one a second after it, until it would be too late."""
    quota = Quota(rate=1.0, burst=3, per_client=per_client)
    service = Service(workers=1000, latency=Latency(minimum=0.01, tail=0.0), quota=quota)
    assert possible([0.0] * 100, service=service) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize("kind", ["error", "lost", "drip", "cut"])
def test_a_random_fault_after_the_work_costs_that_work(kind: Any) -> None:  # noqa: ANN401 - a kind
    """Half of the work is in vain, so that half as many end in time."""
    fault = Fault(kind=kind, share=0.5)
    callers = Callers(patience=1000.0, clients=2)
    assert possible([0.0] * 2000, fault, callers=callers) == pytest.approx(500, rel=0.1)


@pytest.mark.parametrize("kind", ["refuse", "reset", "status", "blackhole", "late"])
def test_a_random_fault_before_the_work_costs_nothing(kind: Any) -> None:  # noqa: ANN401 - a kind
    """The oracle asks again at once."""
    assert possible([0.0] * 50, Fault(kind=kind, share=0.5)) == 10


def test_a_record_has_to_show_a_success_in_time() -> None:
    """Within a second of the call's time, and answered before its caller gives up."""
    record = (Observation(0.0, 503, 0.1), Observation(20.0, 200, 5.0), Observation(21.0, 503, 0.1))
    calls = [0.0, 9.0, 14.0, 15.5, 20.0, 22.5]
    assert possible(calls, record=record) == 2
