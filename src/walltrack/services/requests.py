"""The requests of one API: base URL, headers and parameters; secrets are unwrapped last."""

import contextlib
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, Final, TypedDict
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from walltrack.auth.credentials import AuthTypes, checked_auth
from walltrack.core import validation
from walltrack.core.extensions import AUTH, ROUTE
from walltrack.services.base_url import BaseURL
from walltrack.services.client_options import NO_AUTH


class RequestOptions(TypedDict, total=False):
    """The options of every request; names and meanings are those of httpx."""

    params: Mapping[str, Any]
    headers: Mapping[str, str | SecretStr]
    timeout: float | httpx.Timeout | None
    auth: AuthTypes | None
    follow_redirects: bool
    extensions: Mapping[str, Any]


class BodyOptions(RequestOptions, total=False):
    """The further options of a request with a body; names and meanings are those of httpx."""

    content: str | bytes | Iterable[bytes] | AsyncIterable[bytes]
    data: Mapping[str, Any]
    files: Any
    json: Any


_BUILDING = ("content", "data", "files", "json", "timeout", "extensions")
_OPTIONS = {"params", "headers", "auth", "follow_redirects", *_BUILDING}

_UNQUOTED: Final = "/%:@!$&'()*+,;="
"""Characters that stay as they are in a path, besides letters, digits and -._~."""

_NO_CREDENTIALS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "range",
        "transfer-encoding",
        "user-agent",
    }
)
"""Headers that may follow a redirect to another origin."""

_AWAY: Final = "walltrack.away"
"""On a request: a redirect has left the origin."""


class RequestBuilder:
    """Build the requests of one API.

    Args:
        base_url: The URL to which paths are joined.
        headers: Headers of every request; a `SecretStr` is unwrapped only when a request is built.
        params: Query parameters of every request; a `SecretStr` is unwrapped at the same time.
    """

    def __init__(
        self,
        base_url: BaseURL,
        headers: Mapping[str, str | SecretStr] | None,
        params: Mapping[str, Any] | None,
    ) -> None:
        self._base_url = base_url
        self._headers = dict(headers or {})
        self._params = dict(params or {})

    def build(
        self, client: httpx.AsyncClient, method: str, path: str, options: BodyOptions
    ) -> httpx.Request:
        """Return a request for `client` to send.

        Raises:
            ValueError: `path` leads to another origin, or a header has a character outside ASCII.
            TypeError: There is no such option, or `auth` is none.
        """
        validation.known("a request", options, _OPTIONS)
        url = self._base_url.join(path)
        if params := {**self._params, **options.get("params", {})}:
            url = url.copy_merge_params(_unwrapped(params))  # keeps the query of `path`
        headers = _encoded(_unwrapped(self._headers))
        headers.update(_encoded(_unwrapped(options.get("headers", {}))))
        request = client.build_request(method, url, headers=headers, **_chosen(options, _BUILDING))
        if "auth" in options:
            request.extensions[AUTH] = checked_auth("auth", options["auth"])
        if self._base_url.has_path:
            request.extensions.setdefault(ROUTE, self._base_url.shown(url))
        return request

    async def keep_credentials_home(self, request: httpx.Request) -> None:
        """Remove headers that may be secret from a request that is redirected to another origin.

        httpx itself removes Authorization, but not a custom header with an API key. A redirect from
        the other origin back to this one gets no credentials either.
        """
        if not self._base_url.is_home_of(request.url):
            request.extensions[_AWAY] = True  # a redirect inherits the extensions
        if _AWAY in request.extensions:
            request.extensions[AUTH] = None
            for name in request.headers.keys() - _NO_CREDENTIALS:
                del request.headers[name]


class UnbuiltRequest(httpx.Request):
    """A request that was rejected, and is built only if the error is asked for it.

    Args:
        build: Builds it.
    """

    def __init__(self, build: Callable[[], httpx.Request]) -> None:
        self._build = build

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as of any request
        """Build it when the first of its attributes is read."""
        build = vars(self).pop("_build", None)
        if build is None:
            raise AttributeError(name)
        vars(self).update(vars(build()))
        return getattr(self, name)


def shown_path(path: str, options: BodyOptions) -> str:
    """Return what an event shows of a request that is not built: its route, or the path given."""
    route = (options.get("extensions") or {}).get(ROUTE)
    if isinstance(route, str):
        return route
    # A route that is no text hides the path; the path of a whole URL may be that of the base URL.
    if route is not None or "//" in path:
        return "/..."
    return quote("/" + path.partition("?")[0].partition("#")[0].lstrip("/"), safe=_UNQUOTED)


def _encoded(headers: dict[str, Any]) -> httpx.Headers:
    with contextlib.suppress(UnicodeEncodeError):  # it contains the whole value
        return httpx.Headers(headers)
    raise ValueError("headers must consist of ASCII characters")


def sending(options: BodyOptions) -> dict[str, Any]:
    """Return the options that are used to send a request, not to build it."""
    chosen = _chosen(options, ("follow_redirects",))
    if "auth" in options:  # None: by the userinfo of the URL
        chosen["auth"] = None if options["auth"] is None else NO_AUTH
    return chosen


def _chosen(options: BodyOptions, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}


def _unwrapped(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in values.items()
    }
