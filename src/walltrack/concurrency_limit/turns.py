"""The permits of a concurrency limit, and the queue of callers that wait for one."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from walltrack.concurrency_limit.adaptive import AdaptiveLimit
from walltrack.core.loops import is_needed, is_over, running
from walltrack.core.naming import shown_key


class Place:
    """A place in the queue; `given` is True once it got a permit.

    Args:
        call: Called once, when this place gets its permit.
    """

    __slots__ = ("call", "given")

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] = call
        self.given: bool = False


class Turns:
    """A limited number of permits, and a queue of waiters in the order of their arrival.

    A permit that is given back goes to the first waiter at once, so that no new caller can take it
    first. Every operation takes constant time, however long the queue is.

    If `free` is above zero, a caller takes a permit by subtracting 1 from it. It is never above
    zero while there are waiters, and below zero while more requests are in flight than the limit
    allows.

    Args:
        limit: How many permits there are, at least 1; or an adaptive limit that decides this.
    """

    __slots__ = ("_limit", "_queue", "adaptive", "free", "loop")

    def __init__(self, limit: int | AdaptiveLimit) -> None:
        self.loop: object = running()
        self.adaptive: AdaptiveLimit | None = limit if isinstance(limit, AdaptiveLimit) else None
        self._limit = limit.limit if isinstance(limit, AdaptiveLimit) else limit
        self.free: int = self._limit
        # Not a deque, because a waiter can leave from the middle of the queue.
        self._queue: OrderedDict[Place, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<{self.in_flight} of {self._limit} in flight, {self.waiting} waiting>"

    @property
    def limit(self) -> int:
        """How many permits there are."""
        return self._limit

    @property
    def in_flight(self) -> int:
        """How many permits are taken."""
        return self._limit - self.free

    @property
    def waiting(self) -> int:
        """How many callers wait for a permit."""
        return len(self._queue)

    @property
    def in_use(self) -> bool:
        """Whether any permit is taken; if not, there are no waiters either."""
        return self.free != self._limit

    @property
    def idle(self) -> bool:
        """Whether no caller has a permit, except callers whose event loop has ended."""
        return not is_needed(self)

    def describe(self, key: Hashable) -> dict[str, Any]:
        """Return the state, as JSON has it."""
        return {
            "key": None if key is None else shown_key(key),
            "limit": self._limit,
            "in_flight": self.in_flight,
            "waiting": self.waiting,
        }

    def renewed(self) -> "Turns":
        """Return the same limit with all permits free, for the event loop that is running."""
        return Turns(self._limit if self.adaptive is None else self.adaptive)

    def give_back(self) -> None:
        """Give a permit back, and pass it to the first waiter if there is one."""
        self.free += 1
        if self._queue:
            self._call_up()

    def join(self, place: Place) -> None:
        """Add `place` to the end of the queue."""
        self._queue[place] = None

    def leave(self, place: Place) -> None:
        """Remove `place` from the queue; give its permit back if it already has one."""
        if place.given:
            self.give_back()
        else:
            self._queue.pop(place, None)  # see `_call_up`

    def note(self, began: float, ended: float, *, dropped: bool = False) -> None:
        """Report a request that still has its permit to the adaptive limit, if there is one."""
        adaptive = self.adaptive
        if adaptive is not None and adaptive.note(
            began, ended, self._limit - self.free, dropped=dropped
        ):
            self.free += adaptive.limit - self._limit
            self._limit = adaptive.limit
            self._call_up()

    def _call_up(self) -> None:
        if is_over(self.loop):  # its tasks cannot be woken any more
            self._queue.clear()
        while self.free > 0 and self._queue:
            place, _ = self._queue.popitem(last=False)
            self.free -= 1
            place.given = True
            place.call()
