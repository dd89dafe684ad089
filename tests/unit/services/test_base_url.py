import traceback

import httpx
import pytest

from walltrack.services.base_url import BaseURL


@pytest.mark.parametrize(
    ("url", "netloc"),
    [
        ("https://api.test", "api.test"),
        ("http://API.test:80/v1/", "api.test"),
        ("https://me:secret@api.test:8443/v1", "api.test:8443"),
        (httpx.URL("https://api.test"), "api.test"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_an_api_is_known_by_its_host_and_port(url: str | httpx.URL, netloc: str) -> None:
    """The name for people shows no userinfo, no path and no port that goes without saying."""
    assert BaseURL(url).netloc == netloc


@pytest.mark.parametrize(
    "url",
    ["", "api.test", "/v1", "//api.test", "https://", "https:///v1", "ftp://api.test", "file:///x"],
)
def test_a_base_url_has_to_be_an_absolute_http_url(url: str) -> None:
    """It is refused where it is given, with an example of what is meant."""
    with pytest.raises(ValueError, match="base_url must be an absolute http or https URL"):
        BaseURL(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.test/?key=hunter2",
        "https://api.test?a",
        "https://api.test/v1?",
        "https://api.test?",
        "https://api.test/#hunter2",
    ],
)
def test_a_base_url_has_no_query_and_no_fragment(url: str) -> None:
    """No path could be joined to it; the message does not repeat what may be a key."""
    with pytest.raises(ValueError, match="base_url must have no query and no fragment") as raised:
        BaseURL(url)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["https://api.test:port", "https://api.test/\n", "https://[::1"])
def test_a_base_url_has_to_be_readable(url: str) -> None:
    """The error that httpx has for it is no ValueError, so it becomes one."""
    with pytest.raises(ValueError, match="base_url is not a valid URL"):
        BaseURL(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@api.test:port",
        "https://me:hunter/2@api.test",
        "https://me:hunter#2@api.test",
        "https://me:hunter?2@api.test",
        "ftp://me:hunter2@api.test",
        "https://me:hunter2@api.test?",
        "//me:hunter2@api.test",
    ],
)
def test_no_refusal_of_a_base_url_shows_a_part_of_a_password(url: str) -> None:
    """Nor does a traceback; httpx's own text quotes what it could not read."""
    with pytest.raises(ValueError, match="base_url") as raised:
        BaseURL(url)
    assert "hunter" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "path",
    [
        "https://you:hunter/2@evil.test/a",
        "https://you:hunter2@evil.test:port/a",
        "https://you:hunter2@evil.test/a",
        "https://you:hunter2@api.test/a",
        "//you:hunter2@evil.test/a",
        "you:hunter2@evil.test",
    ],
)
def test_no_refusal_of_a_path_shows_a_part_of_a_password(path: str) -> None:
    """Whatever is wrong with the path."""
    with pytest.raises(ValueError, match="path") as raised:
        BaseURL("https://api.test").join(path)
    assert "hunter" not in str(raised.value)


@pytest.mark.parametrize(
    ("base", "path", "joined"),
    [
        ("https://api.test", "/a", "https://api.test/a"),
        ("https://api.test", "a", "https://api.test/a"),
        ("https://api.test/v1", "/a", "https://api.test/v1/a"),
        ("https://api.test/v1", "a", "https://api.test/v1/a"),
        ("https://api.test/v1/", "/a", "https://api.test/v1/a"),
        ("https://api.test/v1/", "a/", "https://api.test/v1/a/"),
        ("https://api.test/v1", "", "https://api.test/v1"),
        ("https://api.test/v1/", "", "https://api.test/v1/"),
        ("https://api.test/v1", "/", "https://api.test/v1/"),
        ("https://api.test/v1", "/a/../b", "https://api.test/v1/b"),
        ("https://api.test/v1", "/a?x=1&y=2", "https://api.test/v1/a?x=1&y=2"),
        ("https://api.test/v1", "/a?x=../..", "https://api.test/v1/a?x=../.."),
        ("https://api.test/v1", "/a..b/...", "https://api.test/v1/a..b/..."),
        ("https://api.test/v1", "/a/b:c", "https://api.test/v1/a/b:c"),
        ("https://api.test/v1", "/a b", "https://api.test/v1/a%20b"),
        ("https://api.test/v1", "/a%2Fb", "https://api.test/v1/a%2Fb"),
        ("https://api.test/v%2F1", "/a", "https://api.test/v%2F1/a"),
        ("https://me:secret@api.test", "/a", "https://me:secret@api.test/a"),
    ],
)
def test_a_path_is_joined_below_the_base(base: str, path: str, joined: str) -> None:
    """With one slash in between, and with the encoding unchanged."""
    assert str(BaseURL(base).join(path)) == joined


@pytest.mark.parametrize("path", [httpx.URL("/a"), httpx.URL("https://api.test/v1/a")])
def test_a_path_may_be_a_url_object(path: httpx.URL) -> None:
    """It is read like the text of it."""
    assert str(BaseURL("https://api.test/v1").join(path)) == "https://api.test/v1/a"


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "/..",
        "../v2",
        "/a/../../v2",
        "/../v1evil",
        "/%2e%2e/v2",
        "%2E%2E",
        "/a/%2e%2e/%2e%2e/v2",
        "/.%2e/v2",
        "/a/%2e./b",
        "/..%2Fv2",
        "/%2e%2e%2Fv2?x=1",
    ],
)
def test_a_path_does_not_lead_out_of_the_base(path: str) -> None:
    """What stands in a path may come from a user, and the base's path is where the API ends."""
    with pytest.raises(ValueError, match=r"must not lead out of base_url by '\.\.'"):
        BaseURL("https://api.test/v1").join(path)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.test/elsewhere?page=2",
        "https://api.test:443/elsewhere?page=2",
        "HTTPS://API.TEST/elsewhere?page=2",
    ],
)
def test_a_url_of_the_same_origin_is_taken_as_it_is(url: str) -> None:
    """Links to a next page come like that; the port that goes without saying may be said."""
    joined = BaseURL("https://api.test/v1").join(url)
    assert str(joined) == "https://api.test/elsewhere?page=2"


def test_a_url_of_the_same_origin_gets_the_userinfo_of_the_base() -> None:
    """The credentials are the same for each page of the API."""
    joined = BaseURL("https://me:secret@api.test/v1").join("https://api.test/next")
    assert str(joined) == "https://me:secret@api.test/next"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.test/a",
        "http://api.test/a",
        "https://api.test:8443/a",
        "https://api.test.evil.test/a",
        "https://api.test@evil.test/a",
        "https://sub.api.test/a",
        "//evil.test/a",
        "//api.test/a",
        "//api.test@evil.test/a",
        "ftp://api.test/a",
    ],
)
def test_a_url_of_another_origin_is_refused(url: str) -> None:
    """Another scheme, host or port: credentials stay at home."""
    with pytest.raises(ValueError, match=r"path must stay at https://api\.test, got a URL of"):
        BaseURL("https://api.test").join(url)


def test_a_refusal_shows_neither_userinfo_nor_query() -> None:
    """Not of the base, and not of the URL that was refused."""
    base = BaseURL("https://me:hunter2@api.test")
    with pytest.raises(ValueError, match="path must stay at") as raised:
        base.join("https://you:swordfish@evil.test/a?key=swordfish")
    assert str(raised.value) == (
        "path must stay at https://api.test, got a URL of https://evil.test"
    )


@pytest.mark.parametrize("url", ["https://you@api.test/a", "https://you:swordfish@api.test/a"])
def test_a_url_brings_no_userinfo_of_its_own(url: str) -> None:
    """It would replace the credentials of the base."""
    with pytest.raises(ValueError, match="path must not carry userinfo") as raised:
        BaseURL("https://api.test").join(url)
    assert "swordfish" not in str(raised.value)


@pytest.mark.parametrize("path", ["https:a", "https:/a", "token:a", "javascript:alert(1)"])
def test_a_path_that_begins_like_a_scheme_is_refused(path: str) -> None:
    """It is read in two ways by two readers; the message says how to write what was meant."""
    with pytest.raises(ValueError, match="put a '/' before it"):
        BaseURL("https://api.test").join(path)


@pytest.mark.parametrize(
    "path", ["///evil.test/a", "/\\evil.test/a", "\\\\evil.test/a", "@evil.test"]
)
def test_no_trick_leads_to_another_host(path: str) -> None:
    """What a browser may take for a host is a part of the path here."""
    assert BaseURL("https://api.test").join(path).host == "api.test"


@pytest.mark.parametrize("path", ["/a\n", "/a\x00", "https://api.test:port/a"])
def test_a_path_has_to_be_readable(path: str) -> None:
    """The error that httpx has for it is no ValueError, so it becomes one."""
    with pytest.raises(ValueError, match="path is not a valid URL"):
        BaseURL("https://api.test").join(path)


@pytest.mark.parametrize(
    ("base", "url", "path"),
    [
        ("https://api.test", "https://api.test/a/b?c=1", "/a/b"),
        ("https://api.test/v1", "https://api.test/v1/a?c=1", "/a"),
        ("https://api.test/bot7:x/", "https://api.test/bot7:x/send", "/send"),
        ("https://api.test/bot7:x", "https://api.test/bot7:x/bot7:x", "/bot7:x"),
        ("https://api.test/bot7:x", "https://api.test/bot7:x", "/..."),
        ("https://api.test/bot7:x", "https://api.test/file/bot7:x/a.jpg", "/file/.../a.jpg"),
        ("https://api.test/bot7:x", "https://api.test/file/bot7:x.zip", "/file/..."),
        ("https://api.test/a/7:x", "https://api.test/paths/b", "/.../b"),
    ],
)
def test_the_path_of_the_base_is_not_shown(base: str, url: str, path: str) -> None:
    """It may contain a secret; elsewhere, the segments that contain one of its own are hidden."""
    assert BaseURL(base).shown(httpx.URL(url)) == path


@pytest.mark.parametrize(
    ("url", "has_path"),
    [("https://api.test", False), ("https://api.test/", False), ("https://api.test/v1", True)],
)
def test_only_a_base_with_a_path_has_something_to_hide(url: str, *, has_path: bool) -> None:
    """Without one, paths are shown as they are sent."""
    assert BaseURL(url).has_path is has_path
