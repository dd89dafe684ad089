"""A `datetime` whose `now` is virtual, and a module that contains it."""

import datetime as dt
import time
from types import ModuleType
from typing import Any, Final, Self


class _TakenForReal(type):
    """Make every `datetime` an instance, so that `isinstance` works as usual."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, dt.datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, dt.datetime)


class VirtualDatetime(dt.datetime, metaclass=_TakenForReal):
    """Replaces `datetime.datetime`, and reads the time from `time.time`."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        """Return the date and time, local or in a time zone."""
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def today(cls) -> Self:
        """Return the local date and time."""
        return cls.now()

    @classmethod
    def utcnow(cls) -> Self:
        """Return the date and time in UTC, without a time zone."""
        return cls.now(dt.UTC).replace(tzinfo=None)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:  # noqa: ANN401 - as its base has it
        """Copy and pickle as a plain `datetime`."""
        return dt.datetime, super().__reduce_ex__(protocol)[1]


def _module() -> ModuleType:
    module = ModuleType("datetime", dt.__doc__)
    module.__dict__.update(vars(dt) | {"datetime": VirtualDatetime})
    return module


SUBSTITUTES: Final[dict[int, object]] = {id(dt.datetime): VirtualDatetime, id(dt): _module()}
"""The replacements of the class and of its module, by their `id`."""
