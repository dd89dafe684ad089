"""The base classes of this library's exceptions."""

from typing import Any, Self

import httpx

from walltrack.core import family


class WallTrackError(Exception):
    """The base class of all exceptions that this library defines."""

    def __copy__(self) -> Self:
        """Keep everything, including what pickle has to leave out."""
        clone = type(self).__new__(type(self), *self.args)
        clone.args = self.args
        vars(clone).update(vars(self))
        clone.__cause__, clone.__context__ = self.__cause__, self.__context__
        clone.__suppress_context__ = self.__suppress_context__
        return clone

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return (
            self.__copy__()
        )  # fields are immutable, and the streams of a request cannot be copied


class TransportLayerError(WallTrackError, family.TransportError):
    """An error that a transport of this library raises, so that code for httpx handles it."""

    def __init__(self, request: httpx.Request | None) -> None:
        # The constructors of httpx only store a text; here it is formatted when it is read.
        self.request = request  # type: ignore[assignment]  # httpx accepts None as well

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out the request: it has headers and a body, and its streams cannot be pickled."""
        kept = {k: v for k, v in vars(self).items() if not isinstance(v, family.REQUESTS)}
        return type(self), self.args, kept
