from functools import partial
from typing import Any

import httpx
import httpx2
import pytest

from tests.support import get
from walltrack.auth.credentials import checked_auth, of_family, origin_by
from walltrack.core.naming import origin_of

SECRET = "hunter2"  # noqa: S105 - so that it can be looked for


def sign(request: httpx.Request) -> httpx.Request:
    """A function that signs."""
    return request


async def sign_later(request: httpx.Request) -> httpx.Request:
    """An asynchronous function, which httpx would not await."""
    return request


@pytest.mark.parametrize(
    "auth",
    [
        None,
        ("user", SECRET),
        (b"user", b"secret"),
        sign,
        partial(sign),
        httpx.DigestAuth("user", SECRET),
        httpx2.BasicAuth("user", SECRET),
    ],
    ids=lambda auth: type(auth).__name__,
)
def test_what_httpx_takes_is_taken(auth: Any) -> None:  # noqa: ANN401 - of any kind
    """All credentials that httpx accepts are accepted, and kept as given."""
    assert checked_auth("auth", auth) is auth


@pytest.mark.parametrize(
    ("auth", "says"),
    [
        (SECRET, "an Auth of httpx, a tuple of username and password, or a function .* got a str"),
        (("user", SECRET, SECRET), "got a tuple"),
        (("user", None), "got a tuple"),
        (["user", SECRET], "got a list"),
        (httpx.DigestAuth, "the class DigestAuth: give an instance"),
        (sign_later, "async_auth_flow"),
    ],
)
def test_anything_else_is_refused_without_showing_it(auth: object, says: str) -> None:
    """The error names the argument and what to give, and no secret."""
    with pytest.raises(TypeError, match=f"^token must .*{says}") as refused:
        checked_auth("token", auth)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_tuple_is_of_the_family_of_the_request(home: Any) -> None:  # noqa: ANN401 - a module
    """A tuple becomes basic auth of the request's family, so one stack serves clients of both."""
    assert isinstance(of_family(("user", SECRET), home), home.BasicAuth)
    assert of_family(sign, home) is sign


def test_auth_of_the_other_family_is_refused() -> None:
    """The error names both families, and what to do."""
    with pytest.raises(
        TypeError, match=r"client is one of httpx, .* auth is one of httpx2: derive"
    ):
        of_family(httpx2.DigestAuth("user", SECRET), httpx)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.test",
        "https://API.test:443/v1?x=1",
        httpx.URL("https://api.test/"),
        httpx2.URL("https://api.test/"),
    ],
)
def test_an_origin_is_that_of_requests_to_it(url: Any) -> None:  # noqa: ANN401 - of any family
    """Its path, and whether it states the default port, make no difference."""
    assert origin_by(url) == origin_of(get("https://api.test/things"))
    assert origin_by("https://api.test:444") != origin_by(url)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("api.test", ValueError),
        ("/v1", ValueError),
        (f"https://user:{SECRET}@", ValueError),
        (f"https://user:{SECRET}@a b:x", ValueError),
        (80, TypeError),
    ],
)
def test_an_origin_is_an_absolute_url(url: Any, error: type[Exception]) -> None:  # noqa: ANN401 - bad on purpose
    """Anything else is refused, without showing userinfo in it."""
    with pytest.raises(error, match=r"^origin must be an? ") as refused:
        origin_by(url)
    assert SECRET not in str(refused.value)
