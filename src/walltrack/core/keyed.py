"""One of something for each key, in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from walltrack.core import validation

_LOOKED_AT = 8  # of the oldest, on each insertion: constant work, however many are in use


class Forgettable(Protocol):
    """What is kept for a key."""

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost by making a new one."""
        ...


T = TypeVar("T", bound=Forgettable)


class Keyed(Generic[T]):
    """One `T` for each key, made when it is first needed.

    On insertion into a full collection an old one that is idle is forgotten; one that is in use
    never is, so that the bound may be exceeded while too many are.

    Args:
        make: Makes one.
        max_keys: The bound; at least 1.

    Raises:
        TypeError: `max_keys` is not a whole number.
        ValueError: `max_keys` is below 1.
    """

    def __init__(self, make: Callable[[], T], max_keys: int) -> None:
        validation.integer("max_keys", max_keys, minimum=1)
        self._make = make
        self._max_keys = max_keys
        # The first key of a plain dict is found only by passing over all that were deleted.
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def obtain(self, key: Hashable) -> T:
        """The one for `key`, made if there was none."""
        kept = self._kept.get(key)
        if kept is None:
            self._make_room()
            kept = self._kept[key] = self._make()
        return kept

    def replace(self, key: Hashable, kept: T) -> None:
        """Have `kept` be the one for `key` from now on."""
        self._kept[key] = kept

    def _make_room(self) -> None:
        for _ in range(min(_LOOKED_AT, len(self._kept))):
            if len(self._kept) < self._max_keys:
                return
            key, oldest = self._kept.popitem(last=False)
            if not oldest.idle:
                self._kept[key] = oldest  # at the end: its turn comes again
