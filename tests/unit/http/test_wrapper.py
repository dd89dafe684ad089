from types import ModuleType

import httpx
import httpx2
import pytest

from walltrack import HTTPTransport
from walltrack.http.wrapper import WrappingTransport


def test_without_an_inner_transport_it_makes_one_for_either_family() -> None:
    """None means an `AsyncHTTPTransport()` of the family of the request."""
    inner = WrappingTransport()._inner  # noqa: SLF001 - no other way to see it without a network

    assert isinstance(inner, HTTPTransport)


@pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_it_belongs_to_the_family_of_the_inner_transport(home: ModuleType) -> None:
    """Code that checks the type of a transport accepts it where the inner one would be accepted."""
    inner = home.MockTransport(lambda _: home.Response(200))
    assert isinstance(WrappingTransport(inner), home.AsyncBaseTransport)
