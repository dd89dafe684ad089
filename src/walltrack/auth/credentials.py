"""What counts as credentials, and to which origin they may go."""

import inspect
from collections.abc import Callable, Hashable
from types import ModuleType
from typing import Any, Final, TypeAlias

import httpx

from walltrack.core import family
from walltrack.core.naming import origin_of

AuthTypes: TypeAlias = (
    family.Auth | tuple[str | bytes, str | bytes] | Callable[[httpx.Request], httpx.Request]
)
"""As by httpx: an `Auth`, a tuple of username and password, or a function that signs a request."""

_PAIR: Final = 2


def checked_auth(name: str, auth: object) -> AuthTypes | None:
    """Return `auth` if httpx would take it; None if there is none.

    Raises:
        TypeError: It is something else. The text shows none of it.
    """
    if isinstance(auth, type):
        raise TypeError(f"{name} must be an Auth, got the class {auth.__name__}: give an instance")
    if inspect.iscoroutinefunction(auth):
        raise TypeError(
            f"{name} must not be an async function: derive a class from httpx.Auth, and define its "
            "async_auth_flow"
        )
    valid: Any = auth
    if auth is None or isinstance(auth, family.Auth) or callable(auth) or _is_pair(auth):
        taken: AuthTypes | None = valid
        return taken
    raise TypeError(
        f"{name} must be an Auth of httpx, a tuple of username and password, or a function that "
        f"takes and returns a request, got a {type(auth).__name__}"
    )


def _is_pair(auth: object) -> bool:
    return (
        isinstance(auth, tuple)
        and len(auth) == _PAIR
        and all(isinstance(part, str | bytes) for part in auth)
    )


def of_family(auth: AuthTypes, home: ModuleType) -> Any:  # noqa: ANN401 - of either family
    """Return the `Auth` that signs requests of a family; a function stays one.

    Raises:
        TypeError: It is an `Auth` of the other family.
    """
    if isinstance(auth, tuple):
        return home.BasicAuth(*auth)
    if isinstance(auth, family.Auth) and not isinstance(auth, home.Auth):
        other = next(kind for kind in family.FAMILIES if isinstance(auth, kind.Auth))
        raise TypeError(
            f"the client is one of {home.__name__}, but its auth is one of {other.__name__}: "
            f"derive it from {home.__name__}.Auth"
        )
    return auth


def origin_by(url: str | httpx.URL) -> Hashable:
    """Return the origin of `url`, as `origin_of` does for a request.

    Raises:
        TypeError: `url` is not a URL.
        ValueError: It has no scheme or no host.
    """
    if not isinstance(url, (str, *family.URLS)):
        raise TypeError(f"origin must be a URL, got a {type(url).__name__}")
    try:
        parsed = httpx.URL(str(url))
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if not (parsed.scheme and parsed.host):  # the text of neither shows a password in it
        raise ValueError("origin must be an absolute URL, such as 'https://api.example.com'")
    return origin_of(httpx.Request("GET", parsed))
