"""What the scripts return, checked: a server that was not expected can answer anything."""

import re
from collections.abc import Mapping
from typing import Final

from walltrack.core.shared_state import (
    CircuitView,
    ManualSetting,
    SharedCircuitState,
    TokenLease,
)

_SETTING: Final = re.compile(r"(\w{1,20}) (\d{1,18})")


def number(reply: object) -> int:
    """Return a whole number of at least 0.

    Raises:
        ValueError: The reply is something else.
    """
    if not isinstance(reply, int) or reply < 0:
        raise ValueError("not a whole number of at least 0")
    return reply


def circuit(reply: object) -> CircuitView:
    """Return the reply of `scripts.CIRCUIT`.

    Raises:
        ValueError: The reply is something else.
    """
    state, generation, left, openings, failures, granted = _list(reply, 6)
    return CircuitView(
        SharedCircuitState(_text(state)),
        number(generation),
        number(left) / 1e6,
        number(openings),
        number(failures),
        bool(number(granted)),
    )


def lease(reply: object) -> TokenLease:
    """Return the reply of `scripts.LEASE`.

    Raises:
        ValueError: The reply is something else.
    """
    tokens, first_in, held_for = _list(reply, 3)
    if not isinstance(first_in, int):
        raise ValueError("not a time")  # noqa: TRY004 - as for any other reply
    return TokenLease(number(tokens), first_in / 1e6, number(held_for) / 1e6)


def settings(reply: object) -> Mapping[str, ManualSetting]:
    """Return the reply of `scripts.MODES`; ignore entries that have another form.

    Raises:
        ValueError: The reply is not a list of pairs.
    """
    entries = _list(reply)
    found: dict[str, ManualSetting] = {}
    for name, entry in zip(entries[::2], entries[1::2], strict=True):
        if match := _SETTING.fullmatch(_text(entry)):
            found[_text(name)] = ManualSetting(match[1], int(match[2]))
    return found


def _list(reply: object, length: int | None = None) -> list[object]:
    if not isinstance(reply, list | tuple) or len(reply) != (length or len(reply)):
        raise ValueError("not a list of the expected length")
    return list(reply)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):  # of a client that decodes
        return value
    raise ValueError("not a text")
