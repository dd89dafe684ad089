"""Time limits on a clock that is moved manually."""

import anyio
import anyio.lowlevel

from tests.support import Clock


class Timers:
    """A `timer` for a TimeoutTransport whose scopes end only when the clock is moved."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[float] = []
        self._running: list[tuple[float, anyio.CancelScope]] = []

    def __call__(self, seconds: float) -> anyio.CancelScope:
        self.asked.append(seconds)
        scope = anyio.CancelScope()
        self._running.append((self.clock.now + seconds, scope))
        return scope

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass; limits that end meanwhile cancel at the next checkpoint."""
        self.clock.advance(seconds)
        for end, scope in self._running:
            if end <= self.clock.now:
                scope.cancel()

    async def sleep(self, seconds: float) -> None:
        """Pass `seconds`, and be cancelled if a limit ends meanwhile."""
        self.advance(seconds)
        await anyio.lowlevel.checkpoint()
