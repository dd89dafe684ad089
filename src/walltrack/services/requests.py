"""The requests of one API: base URL, headers and parameters; secrets are unwrapped last."""

import contextlib
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Final, TypedDict

import httpx
from pydantic import SecretStr

from walltrack.services.base_url import BaseURL


class RequestOptions(TypedDict, total=False):
    """The options of every request; names and meanings are those of httpx."""

    params: Mapping[str, Any]
    headers: Mapping[str, str | SecretStr]
    timeout: float | httpx.Timeout | None
    auth: httpx.Auth | tuple[str, str] | None
    follow_redirects: bool
    extensions: Mapping[str, Any]


class BodyOptions(RequestOptions, total=False):
    """The further options of a request with a body; names and meanings are those of httpx."""

    content: str | bytes | Iterable[bytes] | AsyncIterable[bytes]
    data: Mapping[str, Any]
    files: Any
    json: Any


_BUILDING = ("content", "data", "files", "json", "timeout", "extensions")
_SENDING = ("auth", "follow_redirects")
_OPTIONS = {"params", "headers", *_BUILDING, *_SENDING}

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
            TypeError: There is no option of this name.
        """
        if unknown := options.keys() - _OPTIONS:
            raise TypeError(f"no option of a request: {', '.join(sorted(unknown))}")
        url = self._base_url.join(path)
        if params := {**self._params, **options.get("params", {})}:
            url = url.copy_merge_params(_unwrapped(params))  # keeps the query of `path`
        headers = _encoded(_unwrapped(self._headers))
        headers.update(_encoded(_unwrapped(options.get("headers", {}))))
        return client.build_request(method, url, headers=headers, **_chosen(options, _BUILDING))

    async def keep_credentials_home(self, request: httpx.Request) -> None:
        """Remove headers that may be secret from a request that is redirected to another origin.

        httpx itself removes Authorization, but not a custom header with an API key.
        """
        if not self._base_url.is_home_of(request.url):
            for name in request.headers.keys() - _NO_CREDENTIALS:
                del request.headers[name]


def _encoded(headers: dict[str, Any]) -> httpx.Headers:
    with contextlib.suppress(UnicodeEncodeError):  # it contains the whole value
        return httpx.Headers(headers)
    raise ValueError("headers must consist of ASCII characters")


def sending(options: BodyOptions) -> dict[str, Any]:
    """Return the options that are used to send a request, not to build it."""
    return _chosen(options, _SENDING)


def _chosen(options: BodyOptions, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}


def _unwrapped(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in values.items()
    }
