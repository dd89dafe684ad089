"""Waiting, and how long the cancel scope of the caller lets a call wait."""

import math

import anyio


async def sleep(seconds: float) -> None:
    """Wait for `seconds`, on asyncio or trio."""
    # A function of our own, because a reference to `anyio.sleep` would load half of anyio early.
    await anyio.sleep(seconds)


def time_left_to_caller() -> float:
    """Return the seconds until the deadline of the caller's cancel scope; infinite without one.

    Cancel scopes of anyio and trio are considered. The deadline of an `asyncio.timeout` is not:
    asyncio does not make it available.
    """
    deadline = anyio.current_effective_deadline()
    return deadline if deadline == math.inf else deadline - anyio.current_time()
