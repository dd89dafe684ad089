"""How this library waits."""

import anyio


async def sleep(seconds: float) -> None:
    """Wait, on asyncio or trio."""
    # Not `anyio.sleep` itself: to name it loads half of anyio, for programs that may never wait.
    await anyio.sleep(seconds)
