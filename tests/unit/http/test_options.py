import inspect
import socket
import ssl
from typing import Any, get_type_hints

import httpx
import httpx2
import pytest

from walltrack import HTTPOptions, HTTPTransport
from walltrack.http import options
from walltrack.http.options import DEFAULT_LIMITS, Options, checked, proxy_by

BOTH = pytest.mark.parametrize("home", [httpx, httpx2], ids=lambda home: home.__name__)
DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(HTTPTransport.__init__).parameters.items()
    if name != "self"
}
NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def check(**given: Any) -> Options:  # noqa: ANN401 - of any type
    """The options of a transport that is made with these arguments."""
    return checked(**{**DEFAULTS, **given})


@BOTH
def test_the_options_are_those_of_the_families_own_transports(home: Any) -> None:  # noqa: ANN401 - a module
    """They have the same names and the same defaults."""
    theirs = dict(inspect.signature(home.AsyncHTTPTransport.__init__).parameters)
    del theirs["self"]
    assert {name: repr(p.default) for name, p in theirs.items()} == {
        name: repr(default) for name, default in DEFAULTS.items()
    }


def test_the_options_can_be_passed_on() -> None:
    """`HTTPOptions` types each of them."""
    assert set(get_type_hints(HTTPOptions)) == set(DEFAULTS)


def test_the_limits_are_those_of_httpx() -> None:
    """They are those of a client without a `limits` argument."""
    assert httpx.Limits(max_connections=100, max_keepalive_connections=20) == DEFAULT_LIMITS


@pytest.mark.parametrize(
    ("name", "wrong", "error"),
    [
        ("http1", 1, TypeError),
        ("http2", "yes", TypeError),
        ("trust_env", None, TypeError),
        ("verify", None, TypeError),
        ("cert", 5, TypeError),
        ("limits", 20, TypeError),
        ("limits", None, TypeError),
        ("proxy", 3128, TypeError),
        ("proxy", ssl, TypeError),
        ("uds", b"/run/s", TypeError),
        ("local_address", 5, TypeError),
        ("retries", 1.5, TypeError),
        ("retries", -1, ValueError),
        ("retries", True, TypeError),
        ("socket_options", 5, TypeError),
        ("socket_options", [(1, 2)], TypeError),
        ("socket_options", [[1, 2, 3]], TypeError),
    ],
)
def test_bad_input_is_refused_by_name(name: str, wrong: object, error: type[Exception]) -> None:
    """It is refused when the transport is made, not by the first request."""
    with pytest.raises(error, match=f"^{name} must be"):
        check(**{name: wrong})


def test_options_that_contradict_each_other_are_refused() -> None:
    """No option is silently ignored."""
    with pytest.raises(ValueError, match="http1 and http2 must not both be False"):
        check(http1=False)
    with pytest.raises(ValueError, match="uds and proxy must not both be given"):
        check(uds="/run/s", proxy="http://proxy.test")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"http2": True}, r"http2=True needs the package h2: pip install 'httpx\[http2\]'"),
        ({"proxy": "socks5://proxy.test"}, r"SOCKS proxy needs the package socksio: .*httpx\[so"),
    ],
)
def test_an_extra_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], text: str
) -> None:
    """The error comes before anything is sent, and tells what to install."""
    monkeypatch.setattr(options, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=text):
        check(**given)


@BOTH
def test_the_classes_of_each_family_are_taken(home: Any) -> None:  # noqa: ANN401 - a module
    """They include limits, proxies and URLs."""
    made = check(limits=home.Limits(max_connections=3), proxy=home.URL("http://proxy.test:3128"))
    assert made.limits.max_connections == 3
    assert made.proxy is not None
    assert made.proxy.url.host == "proxy.test"
    proxy = home.Proxy("http://proxy.test", headers={"via": "me"})
    assert check(proxy=proxy).proxy is proxy


@pytest.mark.parametrize(
    "url", ["http://p.test", "https://p.test:8080", "socks5://p.test", "socks5h://p.test"]
)
def test_a_proxy_may_be_named_by_its_url(url: str) -> None:
    """The userinfo becomes its credentials."""
    proxy = proxy_by(url.replace("://", "://me:hunter2@"))
    assert (str(proxy.url), proxy.auth) == (url, ("me", "hunter2"))


@pytest.mark.parametrize(
    "url", ["proxy.test", "ftp://me:hunter2@p.test", "http://", "http://me:hunter2@p.test:port", ""]
)
def test_a_proxy_that_cannot_be_is_refused_without_its_password(url: str) -> None:
    """The message lists the supported schemes, and shows nothing of the URL."""
    with pytest.raises(ValueError, match="proxy must be a URL whose scheme is http, ") as caught:
        proxy_by(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_proxy_of_another_type_is_refused_without_its_contents() -> None:
    """It may hold a password."""
    wrong: Any = {"http://": "http://me:hunter2@proxy.test"}
    with pytest.raises(TypeError, match=r"got a dict$"):
        check(proxy=wrong)


def test_socket_options_serve_more_than_one_connection() -> None:
    """An iterator would be used up by the first connection."""
    assert check(socket_options=iter([NODELAY])).socket_options == (NODELAY,)
    assert check().socket_options is None
    longest = (socket.SOL_SOCKET, socket.SO_REUSEADDR, None, 4)
    assert check(socket_options=[longest]).socket_options == (longest,)


@pytest.mark.parametrize(
    ("given", "asks"),
    [
        ({}, True),
        ({"trust_env": False}, False),
        ({"proxy": "http://proxy.test"}, False),
        ({"uds": "/run/s"}, False),
        ({"local_address": "127.0.0.1"}, True),
    ],
)
def test_the_environment_is_asked_when_nothing_else_names_a_way(
    given: dict[str, Any],
    asks: bool,  # noqa: FBT001 - a column
) -> None:
    """A proxy or a socket that was given has priority, as in httpx."""
    assert check(**given).asks_environment is asks
