import httpx
import pytest

from walltrack import StopReason
from walltrack.core.notes import add_note


@pytest.mark.parametrize(("attempts", "text"), [(1, "1 attempt"), (4, "4 attempts")])
def test_an_exception_says_how_often_the_request_was_sent(attempts: int, text: str) -> None:
    """A note says so, which a traceback shows below the message."""
    error = httpx.ReadError("broken")
    add_note(error, attempts, StopReason.RETRIES_EXHAUSTED)
    assert error.__notes__ == [f"walltrack: {text}, and no other because: retries_exhausted"]


def test_one_exception_has_one_note() -> None:
    """The same exception may end several calls; other notes are kept."""
    error = httpx.ReadError("broken")
    error.add_note("mine")
    add_note(error, 1, StopReason.CANCELLED)
    add_note(error, 2, StopReason.CIRCUIT_OPEN)
    assert error.__notes__ == ["mine", "walltrack: 2 attempts, and no other because: circuit_open"]
