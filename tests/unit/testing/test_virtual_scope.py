import math

import anyio
import anyio.lowlevel
import pytest

from walltrack.testing.timeline import Timeline
from walltrack.testing.virtual_scope import VirtualCancelScope

pytestmark = pytest.mark.anyio


@pytest.fixture
def line() -> Timeline:
    """A timeline whose changes notify nothing."""
    return Timeline(lambda: None)


async def test_it_is_cancelled_when_its_moment_comes(line: Timeline) -> None:
    """It reports the cancellation as anyio's scopes do."""
    with VirtualCancelScope(line, 5.0) as scope:
        line.advance_to(4.0)
        assert not scope.cancel_called
        line.advance_to(5.0)
        await anyio.sleep_forever()
    assert isinstance(scope, anyio.CancelScope)
    assert scope.cancel_called
    assert scope.cancelled_caught


async def test_its_timer_is_forgotten_when_it_is_left(line: Timeline) -> None:
    """Calls that end in time leave no timer behind, and neither does one that never began."""
    for _ in range(1000):
        with VirtualCancelScope(line, 5.0):
            assert len(line) == 1
    VirtualCancelScope(line, 5.0)
    assert len(line) == 0


async def test_it_is_forgotten_also_when_the_block_fails(line: Timeline) -> None:
    """Its timer is removed, and the exception is raised."""
    with pytest.raises(ValueError, match="mine"), VirtualCancelScope(line, 5.0):
        raise ValueError("mine")
    assert len(line) == 0


async def test_a_moment_that_has_passed_cancels_at_once(line: Timeline) -> None:
    """It cancels at the first await in the block."""
    with VirtualCancelScope(line, 0.0) as scope:
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert len(line) == 0


async def test_without_an_end_there_is_no_timer(line: Timeline) -> None:
    """Otherwise time would jump to it."""
    with VirtualCancelScope(line, math.inf):
        assert len(line) == 0


async def test_its_moment_can_be_changed(line: Timeline) -> None:
    """Before and while it is open, to later, to never, and to one that has passed."""
    scope = VirtualCancelScope(line, 5.0)
    scope.deadline = 7.0
    assert len(line) == 0
    with scope:
        line.advance_to(6.0)
        assert not scope.cancel_called
        scope.deadline = math.inf
        assert len(line) == 0
        line.advance_to(8.0)
        assert not scope.cancel_called
        scope.deadline = 7.5
        assert scope.deadline == 7.5
        assert scope.cancel_called


@pytest.mark.parametrize("reason", [None, "enough"])
async def test_it_can_be_cancelled_manually(line: Timeline, reason: str | None) -> None:
    """`cancel()` works as for any other scope."""
    with VirtualCancelScope(line, 5.0) as scope:
        scope.cancel(reason)
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_it_shields(line: Timeline) -> None:
    """It shields from outer cancellations while `shield` is True."""
    reached = False
    with anyio.CancelScope() as outer, VirtualCancelScope(line, 5.0, shield=True) as scope:
        outer.cancel()
        await anyio.lowlevel.checkpoint()
        reached = scope.shield
        scope.shield = False
        await anyio.lowlevel.checkpoint()
        reached = False
    assert reached
    assert outer.cancelled_caught
    assert not scope.cancelled_caught
