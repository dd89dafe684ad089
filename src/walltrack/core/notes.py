"""Notes on exceptions (PEP 678) that say how often a call was tried."""

from typing import Final

_NOTE: Final = "walltrack: "


def add_note(error: BaseException, attempts: int, reason: str) -> None:
    """State in a note of `error` how many attempts were made, and why there was no other.

    A note of an earlier call or of an inner layer is replaced.
    """
    made = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    others = [note for note in getattr(error, "__notes__", ()) if not str(note).startswith(_NOTE)]
    error.__notes__ = [*others, f"{_NOTE}{made}, and no other because: {reason}"]
