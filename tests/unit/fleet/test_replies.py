from collections.abc import Callable

import pytest

from walltrack.core.shared_state import (
    CircuitView,
    ManualSetting,
    SharedCircuitState,
    TokenLease,
)
from walltrack.fleet import replies


@pytest.mark.parametrize("state", [b"half_open", "half_open"])
def test_a_circuit_is_read(state: bytes | str) -> None:
    """From bytes, or from the texts of a client that decodes; times are in seconds."""
    assert replies.circuit([state, 7, 1_500_000, 2, 3, 1]) == CircuitView(
        SharedCircuitState.HALF_OPEN, 7, 1.5, 2, 3, granted=True
    )


def test_a_lease_is_read() -> None:
    """Its first token can lie in the past."""
    assert replies.lease([5, -2_000_000, 0]) == TokenLease(5, -2.0, 0.0)


def test_settings_are_read() -> None:
    """An entry of another form is ignored, so that it does not hide the others."""
    reply = [b"a", b"disabled 12", "b", "forced_open 13", b"c", b"nonsense", b"d", b"x y"]
    assert replies.settings(reply) == {
        "a": ManualSetting("disabled", 12),
        "b": ManualSetting("forced_open", 13),
    }


@pytest.mark.parametrize(
    ("read", "reply"),
    [
        (replies.circuit, None),
        (replies.circuit, b"OK"),
        (replies.circuit, [b"closed", 7]),
        (replies.circuit, [b"ajar", 7, 0, 0, 0, 0]),
        (replies.circuit, [b"\xff", 7, 0, 0, 0, 0]),
        (replies.circuit, [b"open", b"7", 0, 0, 0, 0]),
        (replies.circuit, [b"open", 7, -1, 0, 0, 0]),
        (replies.circuit, [None, 7, 0, 0, 0, 0]),
        (replies.lease, [1, 2]),
        (replies.lease, [1, b"2", 3]),
        (replies.lease, [-1, 2, 3]),
        (replies.settings, [b"a"]),
        (replies.settings, 5),
        (replies.settings, [b"a", 5]),
        (replies.number, None),
        (replies.number, -1),
    ],
)
def test_anything_else_is_refused(read: Callable[[object], object], reply: object) -> None:
    """By one kind of exception, so that it counts as a lost store."""
    with pytest.raises(ValueError, match=r"."):
        read(reply)
