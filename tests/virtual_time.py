"""Time that passes when a test says so, for any number of sleepers."""

import anyio
import anyio.lowlevel


class VirtualTime:
    """Monotonic seconds; `sleep` lasts until `advance` reaches its end."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.sleepers: dict[anyio.Event, float] = {}

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait until `seconds` have passed."""
        over = anyio.Event()
        self.sleepers[over] = self.now + seconds
        try:
            await over.wait()
        finally:
            self.sleepers.pop(over, None)

    async def advance(self, seconds: float) -> None:
        """Let time pass, and let each task act at its own moment."""
        end = self.now + seconds
        await settle()
        while self.sleepers and min(self.sleepers.values()) <= end:
            self.now = max(self.now, min(self.sleepers.values()))
            for over, moment in list(self.sleepers.items()):
                if moment <= self.now:
                    del self.sleepers[over]
                    over.set()
            await settle()
        self.now = end
        await settle()


async def settle() -> None:
    """Let other tasks do what they can do now; some have to wait for what others do."""
    for _ in range(25):
        await anyio.lowlevel.checkpoint()
