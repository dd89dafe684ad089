"""The options of the `httpx.AsyncClient` below a `BaseAPIClient`, validated."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Any, Final, TypeAlias

import httpx

from walltrack.auth.credentials import AuthTypes, of_family
from walltrack.core import validation

Cookies: TypeAlias = httpx.Cookies | CookieJar | Mapping[str, str]
Hook: TypeAlias = Callable[[Any], Awaitable[None]]
EventHooks: TypeAlias = Mapping[str, list[Hook]]

NO_AUTH: Final = httpx.Auth()
"""Sends a request as it is: an `AuthTransport` authenticates it."""

_EVENTS: Final = ("request", "response")


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What each opening of the client is made with.

    Args:
        timeout: The timeouts of a request.
        cookies: The cookies of the client; None: no cookies.
        follow_redirects: Whether redirects are followed.
        event_hooks: Functions that are called with requests and responses; None: no functions.
        auth: The credentials that an `AuthTransport` has, below the client; None: no credentials.

    Raises:
        TypeError: An option has another type, or there is no such event.
    """

    timeout: float | httpx.Timeout
    cookies: Cookies | None = None
    follow_redirects: bool = False
    event_hooks: EventHooks | None = None
    auth: AuthTypes | None = None

    def __post_init__(self) -> None:
        validation.instance("follow_redirects", self.follow_redirects, bool)
        if not isinstance(self.cookies, httpx.Cookies | CookieJar | Mapping | None):
            raise TypeError(f"cookies must be a mapping, got a {type(self.cookies).__name__}")
        validation.instance("event_hooks", self.event_hooks, Mapping | None)
        if self.auth is not None:
            of_family(self.auth, httpx)
        validation.known("event_hooks", self.event_hooks or (), _EVENTS)

    def open(self, transport: httpx.AsyncBaseTransport, last: Hook) -> httpx.AsyncClient:
        """Return a client.

        Args:
            transport: What sends its requests.
            last: A hook for requests that follows those of the caller.
        """
        hooks = self.event_hooks or {}
        on_request, on_response = (list(hooks.get(event, ())) for event in _EVENTS)
        cookies: Any = self.cookies
        if isinstance(cookies, Mapping) and not isinstance(cookies, httpx.Cookies):
            cookies = dict(cookies)  # httpx takes no other mapping
        return httpx.AsyncClient(
            transport=transport,
            auth=None if self.auth is None else NO_AUTH,  # None: by the userinfo of the URL
            timeout=self.timeout,
            cookies=cookies,
            follow_redirects=self.follow_redirects,
            event_hooks={"request": [*on_request, last], "response": on_response},
        )
