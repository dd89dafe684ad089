"""Which thread runs an event loop."""

from typing import Final

_THREAD: Final = "thread"


class Turn:
    """Which thread runs an event loop, if any does.

    One operation of a dict takes the turn and notes the thread. So an exception of a signal
    handler, such as KeyboardInterrupt, cannot come between the two, and no turn is lost by it.

    Args:
        thread: The identifier of the first thread.
    """

    def __init__(self, thread: int) -> None:
        self._taken: dict[str, int] = {_THREAD: thread}

    @property
    def thread(self) -> int | None:
        """The identifier of the thread that runs the event loop."""
        return self._taken.get(_THREAD)

    def take(self, thread: int) -> bool:
        """Return whether `thread` runs the event loop from now on: no other one does."""
        return self._taken.setdefault(_THREAD, thread) == thread

    def leave(self) -> None:
        """Let the event loop stand still."""
        self._taken.clear()
