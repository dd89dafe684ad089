"""What a call needs: an event loop, and a scope that cancels it."""

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from walltrack.sync.call import Call


class Loop(Protocol):
    """The event loop in which a call runs."""

    closing: bool
    """Whether the transport is being closed, which ends all calls."""

    @property
    def is_of_this_process(self) -> bool:
        """Whether the event loop was made before a fork, and runs elsewhere if at all."""
        ...

    def check(self) -> None:
        """Raise a RuntimeError if this thread cannot wait for the event loop."""
        ...

    def start(self, call: "Call") -> None:
        """Serve `call` in a task; end it if the event loop is over."""
        ...

    def soon(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the event loop; do nothing if that is over."""
        ...

    def forget(self, call: "Call") -> None:
        """Note that `call` has ended."""
        ...

    def rest(self, call: "Call") -> None:
        """Note that `call` has nothing to do until its thread wants something."""
        ...

    def resume(self, call: "Call") -> None:
        """Note that `call` has something to do."""
        ...


class Scope(Protocol):
    """What cancels a task, such as `anyio.CancelScope`."""

    @property
    def cancelled_caught(self) -> bool:
        """Whether it has ended by being cancelled."""
        ...

    def cancel(self) -> None:
        """Cancel what is done within it."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None: ...
