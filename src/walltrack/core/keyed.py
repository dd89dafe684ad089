"""One object for each key, in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from walltrack.core import validation

_LOOKED_AT = 8  # oldest objects examined on each insertion: constant work for any number of keys


class Evictable(Protocol):
    """An object that is kept for a key."""

    @property
    def idle(self) -> bool:
        """Whether it can be evicted: a new object would behave in the same way."""
        ...


T = TypeVar("T", bound=Evictable)


class Keyed(Generic[T]):
    """Keep one `T` for each key, made when it is first needed.

    On insertion into a full collection, old objects that are idle are evicted. Objects in use are
    never evicted, so that the bound can be exceeded while too many are in use.

    Args:
        make: Makes a new object.
        max_keys: How many objects are kept; at least 1.

    Raises:
        TypeError: `max_keys` is not a whole number.
        ValueError: `max_keys` is below 1.
    """

    def __init__(self, make: Callable[[], T], max_keys: int) -> None:
        validation.integer("max_keys", max_keys, minimum=1)
        self._make = make
        self._max_keys = max_keys
        # To find its first key, a plain dict skips all keys that were deleted before it.
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def items(self) -> list[tuple[Hashable, T]]:
        """Return all keys and their objects."""
        return list(self._kept.items())

    def obtain(self, key: Hashable) -> T:
        """Return the object for `key`; make it if there is none."""
        kept = self._kept.get(key)
        if kept is None:
            self._make_room()
            kept = self._kept[key] = self._make()
        return kept

    def replace(self, key: Hashable, kept: T) -> None:
        """Use `kept` for `key` from now on."""
        self._kept[key] = kept

    def _make_room(self) -> None:
        for _ in range(min(_LOOKED_AT, len(self._kept))):
            if len(self._kept) < self._max_keys:
                return
            key, oldest = self._kept.popitem(last=False)
            if not oldest.idle:
                self._kept[key] = oldest  # moved to the end, to be examined again later
