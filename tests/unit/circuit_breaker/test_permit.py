from collections.abc import Callable

import anyio
import pytest

from tests.support import Clock
from walltrack import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitState,
    Permit,
    RequestRejectedError,
)
from walltrack.core.outcome import Verdict

HALF_OPEN = CircuitState.HALF_OPEN
SUCCESS, FAILURE, NONE = Verdict.SUCCESS, Verdict.FAILURE, Verdict.NONE

COOLDOWN = 30.0

SETTLE: dict[Verdict, Callable[[Permit], None]] = {
    SUCCESS: Permit.success,
    FAILURE: Permit.failure,
    NONE: Permit.release,
}


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """A closed breaker with the defaults."""
    return CircuitBreaker(clock=clock)


def trip(breaker: CircuitBreaker) -> None:
    """Open a closed breaker."""
    for _ in range(breaker.failure_threshold):
        breaker.record_failure()


@pytest.mark.parametrize("first", list(Verdict))
@pytest.mark.parametrize("second", list(Verdict))
def test_a_permit_settles_once(breaker: CircuitBreaker, first: Verdict, second: Verdict) -> None:
    """After the first verdict, all further ones are ignored."""
    breaker.record_failure()
    permit = breaker.acquire()
    SETTLE[first](permit)
    count = breaker.failure_count

    SETTLE[second](permit)

    assert count == {SUCCESS: 0, FAILURE: 2, NONE: 1}[first]
    assert breaker.failure_count == count


def test_a_probe_released_twice_does_not_free_its_successors_place(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """A second release does not take the place from the next probe."""
    trip(breaker)
    clock.advance(COOLDOWN)
    permit = breaker.acquire()
    permit.release()
    breaker.acquire()
    permit.release()

    assert not breaker.can_execute()


@pytest.mark.parametrize(
    ("error", "count"),
    [
        (None, 0),
        (RuntimeError(), 2),
        (RequestRejectedError("service"), 1),
        (CircuitBreakerOpenError("service"), 1),
        (KeyboardInterrupt(), 1),
        (GeneratorExit(), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_block_settles_by_how_it_ends(
    breaker: CircuitBreaker, error: BaseException | None, count: int
) -> None:
    """A normal end is a success, an exception a failure; a rejection or an exit has no verdict."""
    breaker.record_failure()

    def call() -> None:
        with breaker.acquire():
            if error is not None:
                raise error

    if error is None:
        call()
    else:
        with pytest.raises(type(error)) as raised:
            call()
        assert raised.value is error

    assert breaker.failure_count == count


@pytest.mark.anyio
async def test_a_cancelled_block_is_no_verdict(breaker: CircuitBreaker, clock: Clock) -> None:
    """A probe that its caller cancels gives its place back."""
    trip(breaker)
    clock.advance(COOLDOWN)

    with anyio.CancelScope() as scope, breaker.acquire():
        scope.cancel()
        await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert (breaker.state, breaker.can_execute()) == (HALF_OPEN, True)


def test_what_was_settled_inside_the_block_stands(breaker: CircuitBreaker) -> None:
    """A verdict given inside the block is kept when the block ends."""
    with breaker.acquire() as permit:
        permit.failure()

    assert breaker.failure_count == 1


def test_a_permit_shows_whether_it_is_settled(breaker: CircuitBreaker) -> None:
    """The repr of a permit tells a pending one from a settled one."""
    permit = breaker.acquire()
    assert repr(permit) == "<Permit pending>"

    permit.release()
    assert repr(permit) == "<Permit settled>"
