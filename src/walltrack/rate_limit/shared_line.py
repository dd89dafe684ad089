"""The queue of callers of one process that wait for tokens of a fleet.

Awaits: tokens are leased here.
"""

from collections.abc import Awaitable, Callable

from walltrack.core.shared_state import SharedState
from walltrack.rate_limit.leased_bucket import LeasedBucket
from walltrack.rate_limit.waiting_line import Waiter, WaitingLine


class SharedLine(WaitingLine):
    """A `WaitingLine` whose first waiter leases tokens for all of them.

    Args:
        bucket: The tokens that are leased.
        clock: Monotonic seconds.
        sleep: Waits for the given number of seconds.
        state: Where the rate is shared.

    Attributes:
        name: The name of the rate in the fleet, to be set before the first call waits.
    """

    __slots__ = ("_leased", "_state", "name")

    def __init__(
        self,
        bucket: LeasedBucket,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        state: SharedState,
    ) -> None:
        super().__init__(bucket, clock, sleep)
        self._leased = bucket
        self._state = state
        self.name: str = ""

    def renewed(self) -> "SharedLine":
        """Return an empty queue for the same bucket, for the event loop that is running."""
        line = SharedLine(self._leased, self._clock, self._sleep, self._state)
        line.name = self.name
        return line

    async def _refill(self, waiter: Waiter) -> None:
        now = self._clock()
        wanted = self._leased.wanted(now, len(self.waiting))
        if wanted:
            patience = waiter.latest - now
            lease = await self._state.lease(self.name, self._leased.pace, wanted, patience)
            held = self._leased.receive(now, self._clock(), lease, patience)
            self.hold_back(held)
