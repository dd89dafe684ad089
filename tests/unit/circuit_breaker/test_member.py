import pytest

from tests.support import Clock
from walltrack import Backoff, CircuitBreaker, CircuitState, CountWindow
from walltrack.circuit_breaker.member import ASK_AGAIN, Member
from walltrack.core.shared_state import CircuitAct, CircuitReport, CircuitView, SharedCircuitState

CLOSED, OPEN, HALF_OPEN = SharedCircuitState


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """The breaker of the member."""
    return CircuitBreaker(3, 30.0, clock=clock)


@pytest.fixture
def member(breaker: CircuitBreaker, clock: Clock) -> Member:
    """The member under test."""
    return Member(breaker, "https://api.test", clock)


def view(
    state: SharedCircuitState, generation: int = 5, seconds: float = 0.0, *, granted: bool = False
) -> CircuitView:
    """An answer of the store."""
    return CircuitView(state, generation, seconds, 1, 3, granted)


def probing(member: Member, clock: Clock, seconds: float = 30.0) -> None:
    """Open the circuit, and get the lease in generation 7."""
    member.breaker.open_for(1.0, openings=1, failures=3)
    member.begin_again()
    clock.advance(1.0)
    assert member.next_report(ask=True) == CircuitReport(
        CircuitAct.ASKED, threshold=3, patience=30.0, memory=30.0
    )
    assert member.follow(clock.now, view(HALF_OPEN, 7, seconds, granted=True)) == ()


def test_there_is_nothing_to_report_at_first(member: Member) -> None:
    """This includes a first request: a closed circuit needs no lease."""
    assert member.next_report(ask=True) is None
    assert member.next_report(ask=False) is None


def test_new_failures_are_reported(member: Member, clock: Clock) -> None:
    """Each is reported once, with what the fleet needs in order to open."""
    member.breaker.record_failure()
    assert member.next_report(ask=False) == CircuitReport(
        CircuitAct.FAILED, failures=1, threshold=3, cooldown=30.0, patience=30.0, memory=30.0
    )
    member.follow(clock.now, view(CLOSED))
    assert member.next_report(ask=False) is None
    member.breaker.record_failure()
    report = member.next_report(ask=False)
    assert report is not None
    assert (report.failures, report.generation) == (1, 5)


def test_failures_during_a_report_are_reported_next(member: Member, clock: Clock) -> None:
    """The answer to the first report does not hide them."""
    member.breaker.record_failure()
    assert member.next_report(ask=False) is not None
    member.breaker.record_failure()
    member.follow(clock.now, view(CLOSED))
    report = member.next_report(ask=False)
    assert report is not None
    assert report.failures == 1


def test_a_success_is_reported_if_failures_were(member: Member, clock: Clock) -> None:
    """Failures after it are reported as new ones."""
    for _ in range(2):
        member.breaker.record_failure()
    member.next_report(ask=False)
    member.follow(clock.now, view(CLOSED))
    member.breaker.record_success()
    member.breaker.record_failure()
    for act in (CircuitAct.CLOSED, CircuitAct.FAILED):
        report = member.next_report(ask=False)
        assert report is not None
        assert report.act is act
        member.follow(clock.now, view(CLOSED))
    assert member.next_report(ask=False) is None


def test_an_opening_is_reported_with_what_is_left_of_it(member: Member, clock: Clock) -> None:
    """The fleet stays open until the same time."""
    for _ in range(3):
        member.breaker.record_failure()
    clock.advance(10.0)
    report = member.next_report(ask=False)
    assert report == CircuitReport(
        CircuitAct.OPENED, failures=3, threshold=3, cooldown=20.0, patience=30.0, memory=30.0
    )


def test_an_opening_that_is_over_is_not_reported(member: Member, clock: Clock) -> None:
    """The member asks for the lease instead."""
    for _ in range(3):
        member.breaker.record_failure()
    clock.advance(30.0)
    assert member.next_report(ask=False) is None
    report = member.next_report(ask=True)
    assert report is not None
    assert report.act is CircuitAct.ASKED


def test_an_answer_from_before_an_opening_does_not_close_it(member: Member, clock: Clock) -> None:
    """What happened while the report was in flight is reported next."""
    member.breaker.record_failure()
    member.next_report(ask=False)
    for _ in range(2):
        member.breaker.record_failure()
    assert member.follow(clock.now, view(CLOSED)) == ()
    assert member.breaker.state is CircuitState.OPEN
    report = member.next_report(ask=False)
    assert report is not None
    assert report.act is CircuitAct.OPENED


def test_it_opens_with_the_fleet(member: Member, clock: Clock) -> None:
    """It does not report this opening itself."""
    member.breaker.record_failure()
    member.next_report(ask=False)
    assert member.follow(clock.now, view(OPEN, seconds=12.0)) == (CircuitState.OPEN,)
    assert member.breaker.shut_for() == 12.0
    assert member.next_report(ask=True) is None


def test_the_cooldown_of_the_fleet_grows(clock: Clock) -> None:
    """The next opening of this process uses the number of openings of the fleet."""
    breaker = CircuitBreaker(1, Backoff(base=10.0, factor=2.0, cap=100.0), clock=clock)
    member = Member(breaker, "a", clock)
    breaker.record_failure()
    member.next_report(ask=False)
    answer = CircuitView(OPEN, 5, 10.0, openings=3, failures=3, granted=False)
    member.follow(clock.now, answer)
    assert breaker.next_cooldown == 80.0


def test_it_is_not_open_for_longer_than_its_own_longest_cooldown(
    member: Member, clock: Clock
) -> None:
    """Its own limit holds, whatever the store states."""
    member.breaker.record_failure()
    member.next_report(ask=False)
    member.follow(clock.now, view(OPEN, seconds=1e9))
    assert member.breaker.shut_for() == 30.0


@pytest.mark.parametrize("failures", [1, 3])
def test_it_waits_for_the_probe_of_another_process(
    member: Member, clock: Clock, failures: int
) -> None:
    """A closed circuit opens for as long; it asks again after half a second at most."""
    for _ in range(failures):
        member.breaker.record_failure()
    member.next_report(ask=False)
    member.follow(clock.now, view(HALF_OPEN, seconds=20.0))
    assert member.breaker.state is CircuitState.OPEN
    assert member.breaker.shut_for() == ASK_AGAIN


def test_a_lease_is_asked_for_once(member: Member, clock: Clock) -> None:
    """It is valid for as long as the store states, from the time of the request for it."""
    probing(member, clock)
    clock.advance(29.0)
    assert member.next_report(ask=True) is None
    clock.advance(1.0)
    report = member.next_report(ask=True)
    assert report is not None
    assert (report.act, report.lease) == (CircuitAct.ASKED, 7)


@pytest.mark.parametrize(("lease", "lasts"), [(2.0, 2.0), (64.0, 64.0), (1e9, 3600.0)])
def test_a_probe_has_the_time_of_its_lease(
    member: Member, clock: Clock, lease: float, lasts: float
) -> None:
    """No process replaces it sooner; the limit is one hour."""
    probing(member, clock)
    member.follow(clock.now, view(HALF_OPEN, 8, lease, granted=True))
    member.breaker.acquire()
    assert member.breaker.shut_for() == lasts
    assert member.next_report(ask=True) is None
    clock.advance(lasts)
    report = member.next_report(ask=True)
    assert report is not None
    assert (report.act, report.lease) == (CircuitAct.ASKED, 8)


def test_a_new_lease_renews_the_time_of_the_next_probe(member: Member, clock: Clock) -> None:
    """The store doubles it, and the breaker does not double it again, except without a store."""
    probing(member, clock)
    member.breaker.acquire()
    clock.advance(30.0)
    member.follow(clock.now, view(HALF_OPEN, 8, 90.0, granted=True))
    member.breaker.acquire()
    assert member.breaker.shut_for() == 90.0
    member.continue_alone()
    clock.advance(90.0)
    member.breaker.acquire()
    assert member.breaker.shut_for() == 180.0


def test_an_opening_ends_what_a_lease_allowed(member: Member, clock: Clock) -> None:
    """The next probe has the first cooldown again, if there is no store."""
    probing(member, clock)
    member.follow(clock.now, view(HALF_OPEN, 8, 64.0, granted=True))
    member.breaker.acquire().failure()
    member.continue_alone()
    clock.advance(30.0)
    member.breaker.acquire()
    assert member.breaker.shut_for() == 30.0


def test_an_opening_of_the_fleet_ends_what_a_lease_allowed(member: Member, clock: Clock) -> None:
    """The same holds for an opening of the member itself."""
    probing(member, clock)
    member.follow(clock.now, view(HALF_OPEN, 8, 64.0, granted=True))
    member.follow(clock.now, view(OPEN, 9, 12.0))
    clock.advance(12.0)
    member.breaker.acquire()
    assert member.breaker.shut_for() == 30.0


def test_a_short_cooldown_does_not_shorten_the_memory_of_the_fleet(clock: Clock) -> None:
    """Failures one httpx timeout apart are in a row; the lease is short all the same."""
    member = Member(CircuitBreaker(3, 1.0, clock=clock), "a", clock)
    member.breaker.record_failure()
    report = member.next_report(ask=False)
    assert report is not None
    assert (report.patience, report.memory) == (1.0, 30.0)


def test_a_long_cooldown_lengthens_the_memory_of_the_fleet(clock: Clock) -> None:
    """A change is remembered for as long as its circuit stays open."""
    member = Member(CircuitBreaker(3, 120.0, clock=clock), "a", clock)
    member.breaker.record_failure()
    report = member.next_report(ask=False)
    assert report is not None
    assert (report.patience, report.memory) == (120.0, 120.0)


def test_the_verdict_on_the_probe_is_reported_with_the_lease(member: Member, clock: Clock) -> None:
    """The fleet can see that it comes from the prober."""
    probing(member, clock)
    member.breaker.acquire().success()
    report = member.next_report(ask=False)
    assert report is not None
    assert (report.act, report.lease) == (CircuitAct.CLOSED, 7)
    member.follow(clock.now, view(CLOSED, 8))
    member.breaker.record_failure()
    report = member.next_report(ask=False)
    assert report is not None
    assert report.lease == 0


def test_a_probe_without_a_verdict_is_given_back(member: Member, clock: Clock) -> None:
    """Unless another request of this process follows at once and uses the lease."""
    probing(member, clock)
    probe = member.breaker.acquire()
    assert member.next_report(ask=False) is None
    probe.release()
    assert member.next_report(ask=True) is None
    report = member.next_report(ask=False)
    assert report is not None
    assert (report.act, report.lease) == (CircuitAct.RELEASED, 7)
    member.follow(clock.now, view(HALF_OPEN, 8))
    assert member.next_report(ask=False) is None


@pytest.mark.parametrize("verdict", ["failure", "release"])
def test_a_lease_ends_with_the_report_of_its_result(
    member: Member, clock: Clock, verdict: str
) -> None:
    """The next probe asks for another one, also while the store has not answered the report."""
    probing(member, clock, seconds=90.0)  # longer than the cooldown, as after a lease that expired
    getattr(member.breaker.acquire(), verdict)()
    report = member.next_report(ask=False)
    assert report is not None
    assert report.lease == 7
    clock.advance(member.breaker.shut_for())
    assert member.breaker.wants_probe()
    assert member.has_report(ask=True)
    member.follow(clock.now, view(HALF_OPEN, 8))
    report = member.next_report(ask=True)
    assert report is not None
    assert (report.act, report.lease) == (CircuitAct.ASKED, 0)


def test_an_answer_during_its_own_probe_changes_nothing(member: Member, clock: Clock) -> None:
    """The store answers "half-open" because the fleet waits for this process."""
    probing(member, clock)
    probe = member.breaker.acquire()
    before = member.breaker.snapshot()
    assert member.follow(clock.now, view(HALF_OPEN, 7, 10.0)) == ()
    assert member.breaker.snapshot() == before
    probe.success()


def test_without_an_answer_it_continues_alone(member: Member, clock: Clock) -> None:
    """Pending reports are dropped, and a lease is no longer relied on."""
    probing(member, clock)
    member.breaker.acquire().failure()
    assert member.next_report(ask=False) is not None
    member.continue_alone()
    assert member.next_report(ask=False) is None
    clock.advance(30.0)
    report = member.next_report(ask=True)
    assert report is not None
    assert (report.act, report.lease) == (CircuitAct.ASKED, 0)


def test_with_a_window_only_openings_are_reported(clock: Clock) -> None:
    """The threshold applies to failures in a row, which it does not count."""
    breaker = CircuitBreaker(window=CountWindow(minimum_calls=2), clock=clock)
    member = Member(breaker, "a", clock)
    breaker.record_failure()
    assert member.next_report(ask=False) is None
    breaker.record_failure()
    report = member.next_report(ask=False)
    assert report is not None
    assert (report.act, report.threshold) == (CircuitAct.OPENED, 0)


def test_nothing_is_reported_of_a_breaker_that_is_set_manually(member: Member) -> None:
    """The state of such a breaker does not describe the service."""
    member.breaker.record_failure()
    member.breaker.force_open()
    assert member.next_report(ask=True) is None
