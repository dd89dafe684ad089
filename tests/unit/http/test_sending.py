import subprocess
import sys

from walltrack import HTTPTransport
from walltrack.http.sending import http_transport


def test_it_makes_a_transport_with_the_options_it_is_given() -> None:
    """Whatever `HTTPTransport` takes."""
    transport = http_transport(proxy="http://proxy.test", trust_env=False)
    assert isinstance(transport, HTTPTransport)
    assert "proxy.test" in repr(transport)


def test_httpcore2_is_imported_with_the_first_transport() -> None:
    """A program that gives a transport of its own does not wait for it."""
    code = (
        "import sys, httpx; from walltrack import BaseAPIClient, RetryTransport, stack; "
        "RetryTransport(httpx.MockTransport(lambda request: httpx.Response(200))); "
        "assert not {'httpcore', 'httpcore2', 'httpx2'} & set(sys.modules); "
        "RetryTransport(); assert 'httpcore2' in sys.modules; "
        "assert not {'httpcore', 'httpx2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
