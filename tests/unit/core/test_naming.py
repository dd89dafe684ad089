import pytest

from tests.support import get
from walltrack.core.naming import path_of, service_of


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("https://api.test/x", "api.test"),
        ("https://api.test:443/x", "api.test"),
        ("https://api.test:8443/x", "api.test:8443"),
        ("https://user:secret@api.test/x?key=secret", "api.test"),
        ("https://bücher.test/x", "xn--bcher-kva.test"),
        ("http://[::1]:8080/x", "[::1]:8080"),
    ],
)
def test_a_service_without_a_name_is_called_by_its_host_and_port(url: str, service: str) -> None:
    """Host and port name a service, and no userinfo ever does."""
    assert service_of(get(url)) == service


def test_a_service_is_called_as_its_caller_calls_it() -> None:
    """A name in the request's extensions goes before host and port."""
    assert service_of(get(extensions={"walltrack.service": "things"})) == "things"


def test_a_service_name_that_is_no_text_is_passed_over() -> None:
    """What is shown in events stays text, whatever stands in the extensions."""
    assert service_of(get(extensions={"walltrack.service": 7})) == "api.test"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://api.test", "/"),
        ("https://api.test/a/b", "/a/b"),
        ("https://api.test/a?key=secret", "/a"),
        ("https://api.test/a?key=secret?more", "/a"),
        ("https://api.test/a#fragment", "/a"),
        ("https://api.test/é x%0Ay", "/%C3%A9%20x%0Ay"),
    ],
)
def test_a_path_is_shown_as_sent_and_without_its_query(url: str, path: str) -> None:
    """No query reaches an event, and no line break can forge a second line of a log."""
    assert path_of(get(url)) == path
