from http.cookiejar import CookieJar
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from tests.support import Scripted
from tests.unit.services.clients import Make, failure_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "cookies", [{"a": "1"}, MappingProxyType({"a": "1"}), httpx.Cookies({"a": "1"})]
)
async def test_cookies_are_sent_and_kept(make: Make, cookies: Any) -> None:  # noqa: ANN401 - of any kind
    """Those that were given, and those of responses until the client is closed."""
    inner = Scripted(httpx.Response(200, headers={"set-cookie": "b=2"}), 200)
    client = make(inner=inner, cookies=cookies)
    for _ in range(2):
        await client.get("/a")
    await client.close()
    await client.get("/a")
    sent = [request.headers["cookie"].split("; ") for request in inner.requests]
    assert [sorted(cookies) for cookies in sent] == [["a=1"], ["a=1", "b=2"], ["a=1"]]


async def test_a_cookie_jar_is_the_callers_own(make: Make) -> None:
    """It keeps the cookies of responses also when the client is closed."""
    inner = Scripted(httpx.Response(200, headers={"set-cookie": "b=2"}), 200)
    client = make(inner=inner, cookies=(jar := CookieJar()))
    await client.get("/a")
    await client.close()
    await client.get("/a")
    assert (len(jar), inner.requests[-1].headers["cookie"]) == (1, "b=2")


@pytest.mark.parametrize(("follow", "status"), [(True, 200), (False, 302)])
async def test_redirects_are_followed_if_the_client_does(
    make: Make, *, follow: bool, status: int
) -> None:
    """A call can ask for the opposite."""
    away = httpx.Response(302, headers={"Location": "/b"})
    client = make(away, 200, follow_redirects=follow)
    assert (await client.get("/a")).status_code == status
    client = make(away, 200, follow_redirects=not follow)
    assert (await client.get("/a", follow_redirects=follow)).status_code == status


async def test_hooks_are_called_once_for_a_call(make: Make) -> None:
    """With its request, and with the response that its attempts end with."""
    heard: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        heard.append(request.method)
        request.headers["x-hook"] = "1"

    async def on_response(response: httpx.Response) -> None:
        heard.append(str(response.status_code))

    inner = Scripted(503, 404)
    hooks = {"request": [on_request], "response": [on_response]}
    error = await failure_of(make(inner=inner, event_hooks=hooks))
    assert (heard, error.attempts) == (["GET", "404"], 2)
    assert [request.headers["x-hook"] for request in inner.requests] == ["1", "1"]


async def test_what_a_hook_adds_goes_to_no_other_origin(make: Make) -> None:
    """Credentials are removed after the hooks of the caller."""

    async def adds(request: httpx.Request) -> None:
        request.headers["x-key"] = "hunter2"

    inner = Scripted(httpx.Response(302, headers={"Location": "https://b.test/"}), 200)
    client = make(inner=inner, event_hooks={"request": [adds]}, follow_redirects=True)
    await client.get("/a")
    assert [request.headers.get("x-key") for request in inner.requests] == ["hunter2", None]


@pytest.mark.parametrize(
    ("option", "wrong", "says"),
    [
        ("follow_redirects", 1, "^follow_redirects must be a bool"),
        ("cookies", "a=1", "^cookies must be a mapping, got a str"),
        ("event_hooks", [print], "^event_hooks must be a"),
        ("event_hooks", {"requests": []}, "^event_hooks has no option requests; it takes request,"),
    ],
)
def test_bad_options_are_refused_by_name(make: Make, option: str, wrong: object, says: str) -> None:
    """When they are given: httpx would ignore some, and fail at the first request with others."""
    with pytest.raises(TypeError, match=says):
        make(200, **{option: wrong})
