import pytest

from tests.support import get
from walltrack.core.naming import (
    Server,
    names_of,
    origin_of,
    path_of,
    server_at,
    server_of,
    service_of,
    shown_key,
)


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
    """Host and port name a service, and userinfo is never part of the name."""
    assert service_of(get(url)) == service


def test_a_service_is_called_as_its_caller_calls_it() -> None:
    """A name in the request's extensions is used before host and port."""
    assert service_of(get(extensions={"walltrack.service": "things"})) == "things"


def test_a_service_name_that_is_no_text_is_passed_over() -> None:
    """Events show only text, whatever the type of the extension is."""
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
    """No query reaches an event, and a line break cannot forge a line of a log."""
    assert path_of(get(url)) == path


def test_a_route_replaces_the_path() -> None:
    """A path that contains a secret is shown as the route that its caller gave."""
    request = get(
        "https://api.test/bot123:abc/send", extensions={"walltrack.route": "/bot{t}/send"}
    )
    assert path_of(request) == "/bot{t}/send"
    assert names_of(request)["path"] == "/bot{t}/send"


def test_a_route_that_is_no_text_hides_the_path() -> None:
    """A mistake must not reveal a secret; None means that there is no route."""
    assert path_of(get("https://api.test/a", extensions={"walltrack.route": 7})) == "/..."
    assert path_of(get("https://api.test/a", extensions={"walltrack.route": None})) == "/a"


@pytest.mark.parametrize(
    ("url", "server", "key"),
    [
        ("https://api.test/x", Server("api.test", 443), "https://api.test"),
        ("http://api.test/x", Server("api.test", 80), "http://api.test"),
        ("http://api.test:8080/x", Server("api.test", 8080), "http://api.test:8080"),
        ("http://[::1]:8080/x", Server("::1", 8080), "http://[::1]:8080"),
        ("http://[::1]/x", Server("::1", 80), "http://[::1]"),
        ("https://bücher.test/x", Server("xn--bcher-kva.test", 443), "https://xn--bcher-kva.test"),
        ("unix://a.test/x", Server("a.test", None), "unix://a.test"),
    ],
)
def test_the_server_of_a_request_is_that_of_its_origin(url: str, server: Server, key: str) -> None:
    """Metrics about requests and about their breakers have the same attributes."""
    request = get(url)
    assert server_of(request) == server_at(origin_of(request)) == server
    assert shown_key(origin_of(request)) == key


@pytest.mark.parametrize("key", ["acme", None, 7, ("api.test", "acme"), ("a", b"b", "c")])
def test_another_key_has_no_server_and_is_shown_as_text(key: object) -> None:
    """Only an origin names a server."""
    assert server_at(key) is None
    assert shown_key(key) == str(key)
