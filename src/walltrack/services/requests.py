"""The requests of one API: its base URL, headers and parameters, with secrets unwrapped last."""

import contextlib
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Final, TypedDict

import httpx
from pydantic import SecretStr

from walltrack.services.base_url import BaseURL


class RequestOptions(TypedDict, total=False):
    """What every request takes; the names and meanings are httpx's."""

    params: Mapping[str, Any]
    headers: Mapping[str, str | SecretStr]
    timeout: float | httpx.Timeout | None
    auth: httpx.Auth | tuple[str, str] | None
    follow_redirects: bool
    extensions: Mapping[str, Any]


class BodyOptions(RequestOptions, total=False):
    """What a request with a body takes besides; the names and meanings are httpx's."""

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
    """Builds the requests of one API.

    Args:
        base_url: What paths are joined to.
        headers: Sent with every request; a `SecretStr` is unwrapped only when one is built.
        params: Query parameters of every request; a `SecretStr` likewise.
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
        """A request for `client` to send.

        Raises:
            ValueError: `path` leads to another origin, or a header is not of ASCII characters.
            TypeError: An option has another name.
        """
        if unknown := options.keys() - _OPTIONS:
            raise TypeError(f"no option of a request: {', '.join(sorted(unknown))}")
        url = self._base_url.join(path)
        if params := {**self._params, **options.get("params", {})}:
            url = url.copy_merge_params(_unwrapped(params))  # keeps the query that `path` has
        headers = _encoded(_unwrapped(self._headers))
        headers.update(_encoded(_unwrapped(options.get("headers", {}))))
        return client.build_request(method, url, headers=headers, **_chosen(options, _BUILDING))

    async def keep_credentials_home(self, request: httpx.Request) -> None:
        """Take off a request that a redirect leads to another origin whatever may be a secret.

        httpx takes off Authorization by itself, but not an API key in a header of its own.
        """
        if not self._base_url.is_home_of(request.url):
            for name in request.headers.keys() - _NO_CREDENTIALS:
                del request.headers[name]


def _encoded(headers: dict[str, Any]) -> httpx.Headers:
    with contextlib.suppress(UnicodeEncodeError):  # it carries the whole value
        return httpx.Headers(headers)
    raise ValueError("headers must consist of ASCII characters")


def sending(options: BodyOptions) -> dict[str, Any]:
    """Those of `options` that belong to the sending of a request."""
    return _chosen(options, _SENDING)


def _chosen(options: BodyOptions, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}


def _unwrapped(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in values.items()
    }
