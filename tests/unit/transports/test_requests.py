from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support import get, post
from walltrack.transports.requests import can_replay, path_of, service_of, with_header


async def from_async_generator() -> AsyncIterator[bytes]:
    """A body that an asynchronous client can send, once."""
    yield b"once"


def from_generator() -> Iterator[bytes]:
    """A body of the other kind."""
    yield b"once"


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


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": b"bytes"},
        {"content": "text"},
        {"json": {"a": 1}},
        {"data": {"a": "1"}},
        {"files": {"f": b"file"}},
        {"data": {"a": "1"}, "files": {"f": ("name", b"file")}},
    ],
    ids=["none", "bytes", "text", "json", "form", "file", "form and file"],
)
def test_a_body_that_is_held_replays(body: dict[str, Any]) -> None:
    """Bytes, JSON, forms and multipart can be sent more than once."""
    assert can_replay(post(**body))


@pytest.mark.parametrize("body", [from_async_generator, from_generator])
def test_a_body_that_is_generated_does_not_replay(body: Any) -> None:  # noqa: ANN401 - of two kinds
    """An iterator can be read once, so that a second attempt would send nothing."""
    assert not can_replay(post(content=body()))


def test_a_header_is_added_to_a_copy() -> None:
    """The caller's request keeps the headers that the caller gave it."""
    request = post(headers={"a": "1"})

    assert with_header(request, "b", "2").headers["b"] == "2"
    assert "b" not in request.headers


def test_a_copy_has_extensions_of_its_own() -> None:
    """What a layer notes on the copy stays out of the caller's request."""
    request = post(extensions={"mine": 1})

    clone = with_header(request, "b", "2")
    clone.extensions["theirs"] = 2

    assert clone.extensions == {"mine": 1, "theirs": 2}
    assert request.extensions == {"mine": 1}


def test_a_copy_says_the_same() -> None:
    """Method, URL, other headers and body are those of the request."""
    request = post(headers={"a": "1"}, json={"x": 1})

    clone = with_header(request, "b", "2")

    assert (clone.method, clone.url, clone.headers["a"]) == ("POST", request.url, "1")
    assert clone.read() == request.read()
    assert clone.stream is request.stream


def test_a_copy_replaces_a_header_of_the_same_name() -> None:
    """The header is set, not added, in whatever letter case it stood."""
    request = with_header(post(headers={"X-Mode": "old"}), "x-mode", "new")
    assert request.headers.get_list("x-mode") == ["new"]
