"""How this library waits."""

import math

import anyio


async def sleep(seconds: float) -> None:
    """Wait, on asyncio or trio."""
    # Not `anyio.sleep` itself: to name it loads half of anyio, for programs that may never wait.
    await anyio.sleep(seconds)


def time_left_to_caller() -> float:
    """Return the seconds until the caller's own cancel scope ends; infinite without one.

    Scopes of anyio's and trio's are seen. The deadline of an `asyncio.timeout` is not: asyncio
    shows it to no other code.
    """
    deadline = anyio.current_effective_deadline()
    return deadline if deadline == math.inf else deadline - anyio.current_time()
