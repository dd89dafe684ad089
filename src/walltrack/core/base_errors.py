"""The base classes of this library's exceptions."""

from typing import Any, Self

import httpx

from walltrack.core import family


class WallTrackError(Exception):
    """The root: `except WallTrackError` catches everything that this library raises by itself."""

    def __copy__(self) -> Self:
        """Keep everything, also what pickle has to leave out."""
        clone = type(self).__new__(type(self), *self.args)
        clone.args = self.args
        vars(clone).update(vars(self))
        clone.__cause__, clone.__context__ = self.__cause__, self.__context__
        clone.__suppress_context__ = self.__suppress_context__
        return clone

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()  # fields do not change, and a request's streams cannot be doubled


class TransportLayerError(WallTrackError, family.TransportError):
    """Raised by a transport of this library: code that knows only httpx handles it."""

    def __init__(self, request: httpx.Request | None) -> None:
        # httpx's own constructors would only hand a text up; ours is made when it is read.
        self.request = request  # type: ignore[assignment]  # httpx takes None, though it is not typed

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out the request: it holds headers and a body, and its streams cannot travel."""
        kept = {k: v for k, v in vars(self).items() if not isinstance(v, family.REQUESTS)}
        return type(self), self.args, kept
