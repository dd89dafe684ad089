"""The body of a response, for the thread that reads it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

from walltrack.core import family
from walltrack.sync.call import Outcome

if TYPE_CHECKING:
    from walltrack.sync.exchange import Exchange


class Whole(family.SyncByteStream):
    """A body that is in memory.

    Args:
        chunks: The body.
    """

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


class Download(family.SyncByteStream):
    """Read a body that the event loop reads ahead.

    Any thread may read it, and any other close it meanwhile. Dropped, it is closed.

    Args:
        exchange: The call that it belongs to.
    """

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange = exchange
        self._ended = False
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        exchange = self._exchange
        if not self._ended:
            exchange.loop.check()
            exchange.make_room()
            item = exchange.take()
            if not isinstance(item, Outcome):
                exchange.taken += len(item)
                chunk: bytes = item
                return chunk
            self._end()
            exchange.value_of(item)
        if self._closed:
            raise exchange.home.StreamClosed
        raise StopIteration

    def close(self) -> None:
        """Close the body, and wait until its connection is free or closed."""
        if self._closed:
            return
        loop = self._exchange.loop
        is_open = not self._ended and loop.is_of_this_process
        if is_open:
            loop.check()
        self._closed = True
        if is_open:
            self._exchange.finish()
            self._end()

    def __del__(self) -> None:
        if self._exchange.loop.is_of_this_process:
            self._exchange.drop()

    def _end(self) -> None:
        self._ended = True
        self._exchange.post(Outcome())  # another thread may wait for it, too
