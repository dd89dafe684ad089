"""An event loop with virtual time, in which real code of any client runs for hours in a second.

`VirtualLoop` is the event loop of asyncio with two differences: `time()` is virtual, and instead of
waiting for the next timer the loop moves the time forward to it. So `asyncio.sleep`,
`asyncio.timeout`, anyio's cancel scopes and everything built on them work without injected clocks.
`virtual_clock_functions` also replaces the functions of the module `time`, for code that reads a
clock.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from walltrack.simulation.substitution import virtual_clocks

_T = TypeVar("_T")

EPOCH: Final = 1_893_456_000.0
"""The date at which virtual time starts: 2030-01-01 in UTC, in seconds since 1970."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop with virtual time, which starts at 0.

    Sockets, threads and subprocesses do not work in it, because they take real time. If all tasks
    wait for one of these, a RuntimeError ends the program.
    """

    def __init__(self) -> None:
        self._instant = _Instant()
        super().__init__(self._instant)

    def time(self) -> float:
        """Return the seconds of virtual time that have passed."""
        return self._instant.now


def run_virtually(main: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run a coroutine function in virtual time.

    Args:
        main: The function. Tasks that it leaves running are cancelled.

    Returns:
        What `main` returns.

    Raises:
        RuntimeError: All tasks wait and no timer is set, or this thread already runs an event loop.
    """
    if _runs_a_loop():
        raise RuntimeError(
            "an event loop runs in this thread: simulate outside of it, or by asyncio.to_thread"
        )
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def virtual_clock_functions() -> AbstractContextManager[None]:
    """Make `time.monotonic` and similar functions return virtual time inside a `VirtualLoop`."""
    return virtual_clocks(virtual_now, EPOCH)


def virtual_now() -> float | None:
    """Return the time of the virtual loop that this thread runs; None if it runs none."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop.time() if isinstance(loop, VirtualLoop) else None


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Instant(selectors.BaseSelector):
    """A selector that never waits for files: a wait with a timeout moves `now` forward by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401 - as the base class has it
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, descriptor, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 - as the base class has it
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError(
                "every task waits, and no timer is set: simulated code must not wait for sockets, "
                "threads or processes"
            )
        self.now += max(timeout, 0.0)
        return []
