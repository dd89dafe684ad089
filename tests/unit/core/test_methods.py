from typing import Any

import pytest

from walltrack.core.methods import IDEMPOTENT_METHODS, SAFE_METHODS, valid_methods


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "QUERY", "PROPFIND", "SEARCH"])
def test_a_safe_method_is_idempotent(method: str) -> None:
    """A request that changes nothing may be repeated."""
    assert method in SAFE_METHODS <= IDEMPOTENT_METHODS


@pytest.mark.parametrize("method", ["PUT", "DELETE", "MKCOL", "COPY", "VERSION-CONTROL"])
def test_some_methods_change_something_and_may_be_repeated(method: str) -> None:
    """Repeating them has no further effect."""
    assert method in IDEMPOTENT_METHODS - SAFE_METHODS


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK", "CONNECT"])
def test_some_methods_may_act_twice(method: str) -> None:
    """They are those that the registry lists as neither safe nor idempotent."""
    assert method not in IDEMPOTENT_METHODS


def test_methods_are_compared_in_capitals() -> None:
    """This is how they are sent."""
    assert valid_methods("methods", ["get", "Put"]) == {"GET", "PUT"}


@pytest.mark.parametrize("given", ["GET", b"GET", [1], None, 3])
def test_what_is_no_collection_of_names_is_refused(given: Any) -> None:  # noqa: ANN401 - bad
    """A single name is refused, too: its letters are no methods."""
    with pytest.raises(TypeError, match="methods must be a collection of names"):
        valid_methods("methods", given)
