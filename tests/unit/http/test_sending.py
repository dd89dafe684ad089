import subprocess
import sys
from typing import Any

import httpx
import pytest

from walltrack import HTTPOptions, HTTPTransport
from walltrack.http.sending import http_transport, inner_transport

NETWORK = httpx.MockTransport(lambda _: httpx.Response(200))


def stack(transport: Any = None, *, deadline: float = 1, **options: Any) -> None:  # noqa: ANN401 - as any owner
    """A function that passes options on."""


def test_it_makes_a_transport_with_the_options_it_is_given() -> None:
    """It accepts all options of `HTTPTransport`."""
    transport = http_transport(proxy="http://proxy.test", trust_env=False)
    assert isinstance(transport, HTTPTransport)
    assert "proxy.test" in repr(transport)


def test_httpcore2_is_imported_with_the_first_transport() -> None:
    """A program with a transport of its own does not wait for the import."""
    code = (
        "import sys, httpx; from walltrack import BaseAPIClient, RetryTransport, stack; "
        "RetryTransport(httpx.MockTransport(lambda request: httpx.Response(200))); "
        "assert not {'httpcore', 'httpcore2', 'httpx2'} & set(sys.modules); "
        "RetryTransport(); assert 'httpcore2' in sys.modules; "
        "assert not {'httpcore', 'httpx2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


def test_the_options_make_the_transport_that_sends() -> None:
    """They are used only without a given transport, which is used as it is."""
    made = inner_transport(stack, None, {"proxy": "http://proxy.test"})
    assert isinstance(made, HTTPTransport)
    assert "proxy.test" in repr(made)
    assert inner_transport(stack, NETWORK, {}) is NETWORK
    with pytest.raises(TypeError, match="must be an asynchronous httpx transport"):
        inner_transport(stack, "https://api.test", {})  # type: ignore[arg-type]


def test_an_option_that_is_not_there_lists_those_that_are() -> None:
    """Both those of the function and those of the transport that it makes."""
    unknown: Any = {"verfy": False, "limits": httpx.Limits()}
    with pytest.raises(TypeError, match=r"^stack\(\) has no option verfy; it takes ") as refused:
        inner_transport(stack, None, unknown)
    _, _, listed = str(refused.value).partition("it takes ")
    assert listed.split(", ") == sorted({"transport", "deadline", *HTTPOptions.__annotations__})


@pytest.mark.parametrize("option", HTTPOptions.__annotations__)
def test_an_option_beside_a_transport_is_refused(option: str) -> None:
    """The given transport would ignore it; the error tells where it belongs."""
    options: Any = {option: None}
    with pytest.raises(
        TypeError, match=rf"would ignore {option}: .*=HTTPTransport\({option}=\.\.\.\)"
    ):
        inner_transport(stack, NETWORK, options)
