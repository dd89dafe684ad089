from collections.abc import Callable, Hashable

import httpx
import pytest

from tests.support import Clock, Events, Failing, get
from walltrack import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    CountWindow,
    Event,
    origin_of,
)
from walltrack.circuit_breaker.breakers import BreakersByKey
from walltrack.circuit_breaker.settling import Settling
from walltrack.core.classification import Classification, Classifier, Outcome
from walltrack.core.extensions import GATE
from walltrack.core.outcome import TRANSIENT_ERRORS, Verdict


def settling_of(
    clock: Clock,
    events: Events | None = None,
    *,
    window: CountWindow | None = None,
    classifier: Classifier | None = None,
    shared: CircuitBreaker | None = None,
    key: Callable[[httpx.Request], Hashable] = origin_of,
) -> tuple[Settling, BreakersByKey]:
    """A Settling with breakers that open at the first failure, and its breakers."""
    breakers = BreakersByKey(
        lambda ledger: CircuitBreaker(1, window=window, clock=clock, ledger=ledger), 10
    )
    settling = Settling(
        breakers,
        shared,
        key,
        has_window=window is not None,
        exceptions=TRANSIENT_ERRORS,
        classifier=classifier,
        listener=events,
    )
    return settling, breakers


def test_a_failure_makes_the_breaker_and_leaves_it_on_the_request(
    clock: Clock, events: Events
) -> None:
    """A breaker is made at the first failure, and its change of state is reported."""
    settling, breakers = settling_of(clock, events)
    request = get()

    settling.settle(request, 0, None, Verdict.FAILURE)

    assert request.extensions[GATE] is breakers.find(origin_of(request))
    assert events.names == ["circuit_opened"]


def test_a_success_makes_no_breaker(clock: Clock) -> None:
    """While no breaker is troubled, a success changes nothing."""
    settling, breakers = settling_of(clock)

    settling.settle(get(), 0, None, Verdict.SUCCESS)
    settling.end_of_body(get(), 0, None, None)

    assert len(breakers) == 0


def test_an_open_breaker_rejects_with_the_time_that_remains(clock: Clock) -> None:
    """The error carries the request and the rest of the cooldown."""
    settling, _ = settling_of(clock)
    settling.settle(get(), 0, None, Verdict.FAILURE)
    clock.advance(10)
    request = get()

    with pytest.raises(CircuitBreakerOpenError) as caught:
        settling.admit(request, settling.obtain(request))

    assert (caught.value.retry_after, caught.value.request) == (20.0, request)


def test_a_probe_is_reported_when_it_is_admitted(clock: Clock, events: Events) -> None:
    """The first request after the cooldown makes the breaker half-open, its success closes it."""
    settling, _ = settling_of(clock, events)
    settling.settle(get(), 0, None, Verdict.FAILURE)
    clock.advance(30)
    breaker = settling.obtain(get())

    ticket = settling.admit(get(), breaker)
    settling.end_of_body(get(), ticket, breaker, None)

    assert events.names == ["circuit_opened", "circuit_half_opened", "circuit_closed"]


def test_a_listener_that_ends_the_program_leaves_no_probe_behind(clock: Clock) -> None:
    """The probe gives its place back, since it will not be sent."""

    class Ending(Events):
        def __call__(self, event: Event, /) -> None:
            super().__call__(event)
            if event.name == "circuit_half_opened":
                raise KeyboardInterrupt

    settling, _ = settling_of(clock, Ending())
    settling.settle(get(), 0, None, Verdict.FAILURE)
    clock.advance(30)
    breaker = settling.obtain(get())

    with pytest.raises(KeyboardInterrupt):
        settling.admit(get(), breaker)

    assert breaker.can_execute()


@pytest.mark.parametrize(
    ("failure", "state"), [(False, CircuitState.CLOSED), (None, CircuitState.OPEN)]
)
def test_a_classifier_decides_on_an_exception_first(
    clock: Clock, *, failure: bool | None, state: CircuitState
) -> None:
    """If it does not decide, the exceptions that count as failures do."""

    def classify(outcome: Outcome) -> Classification:
        assert isinstance(outcome.error, httpx.ReadError)
        return Classification(failure=failure)

    settling, _ = settling_of(clock, classifier=Classifier([classify], print))

    settling.end_of_body(get(), 0, None, httpx.ReadError("broken"))

    assert settling.obtain(get()).state is state


def test_with_a_window_a_success_goes_to_the_breaker_that_admitted_it(clock: Clock) -> None:
    """A success goes to the evicted breaker, and its successor does not count it."""
    settling, _ = settling_of(clock, window=CountWindow(4, minimum_calls=4))
    evicted = CircuitBreaker(window=CountWindow(4, minimum_calls=1), clock=clock)

    settling.settle(get(), 0, evicted, Verdict.SUCCESS)
    evicted.record_failure()
    assert evicted.state is CircuitState.OPEN  # one of two calls failed

    current = settling.obtain(get())
    for _ in range(3):
        current.record_failure()
    assert current.state is CircuitState.CLOSED  # a fourth call was not counted


def test_a_shared_breaker_settles_every_request(clock: Clock) -> None:
    """No breaker is made per key if one is shared."""
    shared = CircuitBreaker(2, clock=clock)
    settling, breakers = settling_of(clock, shared=shared)
    shared.record_failure()

    settling.settle(get(), shared.ledger.epoch, None, Verdict.SUCCESS)

    assert (settling.obtain(get()), len(breakers), shared.failure_count) == (shared, 0, 0)


def test_a_key_that_fails_at_the_end_frees_the_probe(clock: Clock) -> None:
    """The breaker that admitted the probe does not wait for a verdict that never comes."""
    settling, breakers = settling_of(clock, key=Failing(KeyError("strange"), works=1, value="key"))
    settling.settle(get(), 0, None, Verdict.FAILURE)
    clock.advance(30)
    breaker = breakers.obtain("key")
    ticket = settling.admit(get(), breaker)
    assert not breaker.can_execute()

    with pytest.raises(KeyError, match="strange"):
        settling.settle(get(), ticket, breaker, Verdict.FAILURE)

    assert breaker.can_execute()
