"""Who may begin now and whose turn comes next: the queue before a limit on concurrency."""

from collections import OrderedDict
from collections.abc import Callable

from walltrack.concurrency_limit.adaptive import AdaptiveLimit
from walltrack.core.loops import is_needed, is_over, running


class Place:
    """A place in the queue. `given` tells whether its permit was.

    Args:
        call: Called once, when it is.
    """

    __slots__ = ("call", "given")

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] = call
        self.given: bool = False


class Turns:
    """Permits for so many requests at a time, given in the order in which they were asked for.

    A permit that is given back goes to whoever waits for longest, at once: nobody who comes
    between finds it free. Every operation takes the same time, however many wait.

    Whoever finds `free` above zero takes a permit by taking one from it. It is never above zero
    while anybody waits, and below zero while the limit is lower than what is under way.

    Args:
        limit: How many permits there are, at least 1; or what finds out how many.
    """

    __slots__ = ("_limit", "_queue", "adaptive", "free", "loop")

    def __init__(self, limit: int | AdaptiveLimit) -> None:
        self.loop: object = running()
        self.adaptive: AdaptiveLimit | None = limit if isinstance(limit, AdaptiveLimit) else None
        self._limit = limit.limit if isinstance(limit, AdaptiveLimit) else limit
        self.free: int = self._limit
        # Not a deque: one that leaves from the middle would stay in it until its turn came.
        self._queue: OrderedDict[Place, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<{self.under_way} of {self._limit} under way, {self.waiting} waiting>"

    @property
    def limit(self) -> int:
        """How many permits there are."""
        return self._limit

    @property
    def under_way(self) -> int:
        """How many permits are taken."""
        return self._limit - self.free

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._queue)

    @property
    def in_use(self) -> bool:
        """Whether a permit is taken; otherwise no caller waits either."""
        return self.free != self._limit

    @property
    def idle(self) -> bool:
        """Whether no caller has a permit, or only callers of an event loop that is over."""
        return not is_needed(self)

    def renewed(self) -> "Turns":
        """Return the same limit, with all permits free, for the event loop that is running."""
        return Turns(self._limit if self.adaptive is None else self.adaptive)

    def give_back(self) -> None:
        """Give a permit back, or pass it on."""
        self.free += 1
        if self._queue:
            self._call_up()

    def join(self, place: Place) -> None:
        """Stand at the end of the queue."""
        self._queue[place] = None

    def leave(self, place: Place) -> None:
        """Wait no longer; a permit that was given already is passed on."""
        if place.given:
            self.give_back()
        else:
            self._queue.pop(place, None)  # see `_call_up`

    def note(self, began: float, ended: float, *, dropped: bool = False) -> None:
        """Have an adaptive limit take note of a request that still has its permit."""
        adaptive = self.adaptive
        if adaptive is not None and adaptive.note(
            began, ended, self._limit - self.free, dropped=dropped
        ):
            self.free += adaptive.limit - self._limit
            self._limit = adaptive.limit
            self._call_up()

    def _call_up(self) -> None:
        if is_over(self.loop):  # its tasks are collected, and none of them can be woken
            self._queue.clear()
        while self.free > 0 and self._queue:
            place, _ = self._queue.popitem(last=False)
            self.free -= 1
            place.given = True
            place.call()
