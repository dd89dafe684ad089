"""A cancel scope whose deadline is in virtual time."""

import math
from types import TracebackType
from typing import Self

import anyio

from walltrack.testing.timeline import Timeline, Timer


class VirtualCancelScope(anyio.CancelScope):
    """A cancel scope like those of anyio, with a deadline in virtual time.

    Args:
        timeline: The virtual time.
        deadline: When the scope is cancelled, in seconds of virtual time; infinite: never.
        shield: Whether the scope is protected from cancellation from outside.
    """

    __slots__ = ("_deadline", "_entered", "_scope", "_timeline", "_timer")

    def __new__(cls, *_: object, **__: object) -> Self:
        """Make an object of this class; that of anyio would make one of the event loop's class."""
        return object.__new__(cls)

    def __init__(self, timeline: Timeline, deadline: float, *, shield: bool = False) -> None:
        self._scope = anyio.CancelScope(shield=shield)
        self._timeline = timeline
        self._timer: Timer | None = None
        self._deadline = deadline
        self._entered = False

    def __enter__(self) -> Self:
        self._scope.__enter__()
        self._entered = True
        self._begin()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        self._entered = False
        self._forget()
        return self._scope.__exit__(exc_type, exc_val, exc_tb)

    def cancel(self, reason: str | None = None) -> None:
        """Cancel the scope at once."""
        if reason is None:  # older releases of anyio have no reason
            self._scope.cancel()
        else:
            self._scope.cancel(reason)

    @property
    def deadline(self) -> float:
        """When the scope is cancelled, in seconds of virtual time."""
        return self._deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._deadline = value
        self._forget()
        if self._entered:
            self._begin()

    @property
    def cancel_called(self) -> bool:
        """Whether the scope was cancelled, by its deadline or otherwise."""
        return self._scope.cancel_called

    @property
    def cancelled_caught(self) -> bool:
        """Whether the cancellation ended the block."""
        return self._scope.cancelled_caught

    @property
    def shield(self) -> bool:
        """Whether the scope is protected from cancellation from outside."""
        return self._scope.shield

    @shield.setter
    def shield(self, value: bool) -> None:
        self._scope.shield = value

    def _begin(self) -> None:
        if self._deadline <= self._timeline.now:
            self._scope.cancel()
        elif self._deadline < math.inf:
            self._timer = self._timeline.begin(self._deadline, self._scope.cancel)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timeline.forget(self._timer)
            self._timer = None
