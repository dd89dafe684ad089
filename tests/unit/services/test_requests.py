import traceback
from collections.abc import Mapping
from typing import Any, cast

import httpx
import pytest
from pydantic import SecretStr

from walltrack.core.naming import path_of
from walltrack.services.base_url import BaseURL
from walltrack.services.client_options import NO_AUTH
from walltrack.services.requests import (
    BodyOptions,
    RequestBuilder,
    UnbuiltRequest,
    sending,
    shown_path,
)

HOME = "https://api.test/v1"


def build(
    path: str = "/a",
    *,
    headers: Mapping[str, str | SecretStr] | None = None,
    params: Mapping[str, Any] | None = None,
    **options: Any,  # noqa: ANN401 - handed on
) -> httpx.Request:
    """A POST that a builder with these headers and params built."""
    builder = RequestBuilder(BaseURL(HOME), headers, params)
    return builder.build(httpx.AsyncClient(), "POST", path, cast("BodyOptions", options))


def build_with(**options: Any) -> httpx.Request:  # noqa: ANN401 - handed on
    """A POST with headers and params of its own over those of its API."""
    builder = RequestBuilder(BaseURL(HOME), {"X-A": "1", "X-B": "1"}, {"a": "1", "b": "1"})
    return builder.build(httpx.AsyncClient(), "POST", "/a?c=1", cast("BodyOptions", options))


def test_a_request_is_built_below_the_base() -> None:
    """With method, path and what every request of the client has."""
    request = build("/a?x=a+b", headers={"X-A": "1"})
    assert (request.method, str(request.url)) == ("POST", f"{HOME}/a?x=a+b")
    assert request.headers["X-A"] == "1"


def test_options_reach_the_request() -> None:
    """Under the names that httpx gave them."""
    request = build(json={"a": 1}, timeout=3.0, extensions={"mine": 1})
    assert request.content == b'{"a":1}'
    assert request.extensions["timeout"]["write"] == 3.0
    assert request.extensions["mine"] == 1


def test_those_of_one_request_go_before_those_of_all() -> None:
    """In any letter case; the others stay, and so does the query of the path."""
    request = build_with(headers={"x-a": "2"}, params={"a": "2"})
    assert (request.headers.get_list("X-A"), request.headers["X-B"]) == (["2"], "1")
    assert dict(request.url.params) == {"a": "2", "b": "1", "c": "1"}


def test_secrets_are_unwrapped_in_the_request_alone() -> None:
    """What the builder holds goes on hiding them."""
    builder = RequestBuilder(
        BaseURL(HOME), {"X-Key": SecretStr("hunter2")}, {"key": SecretStr("swordfish")}
    )
    request = builder.build(httpx.AsyncClient(), "GET", "/a", {})
    assert request.headers["X-Key"] == "hunter2"
    assert request.url.query == b"key=swordfish"
    assert "hunter2" not in repr(vars(builder))
    assert "swordfish" not in repr(vars(builder))


def test_a_builder_keeps_what_it_was_given() -> None:
    """Changing the mapping afterwards changes no later request."""
    headers: dict[str, str | SecretStr] = {"X-A": "1"}
    builder = RequestBuilder(BaseURL(HOME), headers, None)
    headers["X-A"] = "2"
    assert builder.build(httpx.AsyncClient(), "GET", "/a", {}).headers["X-A"] == "1"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"parms": {}}, "parms"),
        ({"follow_redirect": True, "Json": {}}, "Json, follow_redirect"),
        ({"stream": True}, "stream"),
    ],
)
def test_an_option_of_another_name_is_refused(options: dict[str, Any], named: str) -> None:
    """A misspelt one would be passed over, and something else sent than was meant."""
    with pytest.raises(TypeError, match=f"^a request has no option {named}; it takes auth, "):
        build(**options)


@pytest.mark.parametrize(
    "value", ["hünter2", SecretStr("hünter2"), "hunter2 \U0001f511", "\udcff2"]
)
@pytest.mark.parametrize("of_all", [True, False])
def test_no_part_of_a_header_value_that_is_not_ascii_is_shown(
    value: str | SecretStr, *, of_all: bool
) -> None:
    """Neither in the error nor in what led to it: Python's own carries the whole value."""
    headers = {"X-Fine": "swordfish", "X-Key": value}
    with pytest.raises(ValueError, match=r"^headers must consist of ASCII characters$") as caught:
        build(headers=headers) if of_all else build_with(headers=headers)
    assert type(caught.value) is ValueError
    assert caught.value.args == ("headers must consist of ASCII characters",)
    assert caught.value.__cause__ is caught.value.__context__ is None
    shown = "".join(traceback.format_exception(caught.value))
    for secret in ("nter2", "ünter", "hunter", "\U0001f511", "udcff", "swordfish"):
        assert secret not in shown


def test_options_for_sending_are_separated() -> None:
    """They count when a request is sent, not when it is built."""
    options: BodyOptions = {"follow_redirects": True, "json": {}, "headers": {}}
    assert sending(options) == {"follow_redirects": True}
    assert sending({}) == {}


def test_the_auth_of_a_call_is_left_to_its_attempts() -> None:
    """The client itself is given none that does anything; None leaves the userinfo of the URL."""
    auth = ("me", "hunter2")
    request = build_with(auth=auth)
    assert request.extensions["walltrack.auth"] == auth
    assert "Authorization" not in request.headers
    assert sending({"auth": auth}) == {"auth": NO_AUTH}
    assert build_with(auth=None).extensions["walltrack.auth"] is None
    assert sending({"auth": None}) == {"auth": None}
    with pytest.raises(TypeError, match=r"^auth must be an Auth"):
        build_with(auth="hunter2")


def test_a_request_that_was_not_sent_is_built_when_it_is_looked_at() -> None:
    """Once, and as it would have been; it has no other attributes."""
    built: list[httpx.Request] = []

    def build_it() -> httpx.Request:
        built.append(build_with(headers={"X-A": "1"}))
        return built[-1]

    request = UnbuiltRequest(build_it)
    assert (len(built), isinstance(request, httpx.Request)) == (0, True)
    assert (request.method, request.headers["X-A"]) == ("POST", "1")
    assert request.url == built[0].url
    assert repr(request) == repr(built[0]).replace("<Request", "<UnbuiltRequest")
    assert len(built) == 1
    with pytest.raises(AttributeError, match=r"^other$"):
        _ = request.other


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "home"),
    [
        ("https://api.test/elsewhere", True),
        ("https://API.test:443/v1/b", True),
        ("https://other.test/v1/a", False),
        ("http://api.test/v1/a", False),
        ("https://api.test:8443/v1/a", False),
        ("https://api.test.evil.test/", False),
    ],
)
async def test_headers_that_may_be_secret_stay_at_home(url: str, *, home: bool) -> None:
    """Those of the protocol travel; any other may be an API key."""
    sent = {
        "X-Key": "hunter2",
        "Authorization": "Bearer hunter2",
        "Proxy-Authorization": "Basic hunter2",
        "Idempotency-Key": "1",
        "Accept": "text/html",
        "Cookie": "a=1",
    }
    request = httpx.Request("POST", url, headers=sent, json={"a": 1})
    before = set(request.headers)
    await RequestBuilder(BaseURL(HOME), None, None).keep_credentials_home(request)
    kept = before if home else {"accept", "host", "content-length", "content-type"}
    assert set(request.headers) == kept


def test_a_request_shows_the_path_below_the_base_alone() -> None:
    """The caller's own route goes before it, and without a path of the base there is none."""
    assert path_of(build("/a?b=1")) == "/a"
    assert path_of(build("/a", extensions={"walltrack.route": "/{x}"})) == "/{x}"
    plain = RequestBuilder(BaseURL("https://api.test"), None, None)
    request = plain.build(httpx.AsyncClient(), "GET", "/a", {})
    assert "walltrack.route" not in request.extensions


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a/b", "/a/b"),
        ("a/b", "/a/b"),
        ("", "/"),
        ("/a?key=hunter2", "/a"),
        ("/a#hunter2?x", "/a"),
        ("/é x\ny%20z", "/%C3%A9%20x%0Ay%20z"),
        ("https://me:hunter2@api.test/v1/a", "/..."),
        ("//api.test/v1/a", "/..."),
    ],
)
def test_a_request_that_is_not_built_shows_its_path(path: str, shown: str) -> None:
    """As a built one would, without a query; a whole URL shows none."""
    assert shown_path(path, {}) == shown


def test_a_request_that_is_not_built_shows_its_route() -> None:
    """As one that is built: a route that is no text hides the path."""
    assert shown_path("/a/7:x", {"extensions": {"walltrack.route": "/a/{x}"}}) == "/a/{x}"
    assert shown_path("/a", {"extensions": {"walltrack.route": 7}}) == "/..."
    none: Any = {"extensions": None}  # as httpx allows
    assert shown_path("/a", none) == "/a"
