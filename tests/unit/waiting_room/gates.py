"""A circuit that tests open and shut."""

from tests.support import Clock


class FakeGate:
    """A circuit that rejects requests for some seconds.

    Args:
        clock: What it measures by.
        shut_for: For how many seconds from now.
        is_probing: Whether a probe is in flight.
    """

    def __init__(self, clock: Clock, shut_for: float = 0.0, *, is_probing: bool = False) -> None:
        self.clock = clock
        self.until = clock.now + shut_for
        self.is_probing = is_probing

    def shut_for(self) -> float:
        return max(self.until - self.clock.now, 0.0)

    def shut(self, seconds: float, *, is_probing: bool = False) -> None:
        """Reject requests for so long from now on."""
        self.until = self.clock.now + seconds
        self.is_probing = is_probing

    def open(self) -> None:
        """Admit requests."""
        self.shut(0.0)
