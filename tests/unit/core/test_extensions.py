from walltrack.core import extensions
from walltrack.core.extensions import CallReport


def test_every_key_begins_with_the_name_of_the_library() -> None:
    """No key of ours can be mistaken for httpx's, httpcore's or a stranger's, nor for another."""
    keys = [value for name, value in vars(extensions).items() if name.isupper()]
    keys.remove(extensions.TRACE)  # httpcore's own

    assert len(set(keys)) == len(keys) > 0
    assert all(key.startswith("walltrack.") for key in keys)


def test_a_call_report_starts_at_the_first_attempt() -> None:
    """A call that ends before any retry took one attempt."""
    assert CallReport().attempts == 1
