"""A transport that authenticates each attempt on its own."""

from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from typing import Any, Final

import httpx

from walltrack.auth.credentials import AuthTypes, checked_auth, of_family, origin_by
from walltrack.core import family
from walltrack.core.delivery import Delivery
from walltrack.core.extensions import AUTH, TIMEOUT
from walltrack.core.mismatch import refuse_mismatch
from walltrack.core.naming import origin_of
from walltrack.http.evidence import note_repeated
from walltrack.http.release import discard, release
from walltrack.http.requests import copy_of, read_once
from walltrack.http.wrapper import WrappingTransport

_REFUSING: Final = frozenset({401, 403, 407})
"""Statuses of requests that were not applied for want of credentials (RFC 9110, section 15.5)."""


class AuthTransport(WrappingTransport):
    """Run the auth flow for each attempt, as the innermost layer: inside retry, hedge and breaker.

    httpx runs it once for a call, outside its transport, so that a retry sends what the first
    attempt sent: a nonce that is used up, a signature whose time has passed, a token that has
    expired. Here each attempt has a flow of its own, with all that it sends: the request after a
    challenge, or the one that refreshes a token.

    Any flow of httpx works: Basic, Digest, `auth_flow`, `async_auth_flow`, and those that need the
    body of the request or of the response. Layers outside see the last response of the flow; the
    others are read or closed here. They do not appear in `response.history`.

    Credentials go to one origin, also when a request is redirected to another one: that request is
    sent as it came. Give a second origin a transport of its own (httpx: `mounts=`).

    Cookies that a response sets reach the client's jar only if the caller gets that response: the
    cookies of a response that is retried, or that is followed by another request of the flow, are
    dropped. So a sticky session does not pin the retry to the backend that failed.

    Args:
        transport: What sends the requests; None makes an `HTTPTransport()`.
        auth: As by httpx: an `httpx.Auth`, a tuple of username and password, or a function that
            takes a request and returns it signed. A request's `extensions={"walltrack.auth": ...}`
            replaces it for one call; None there sends the request as it is. Default: there is none.
        origin: The URL of the only origin that gets credentials; its path does not matter. Default:
            the origin of the first request that has some.

    Raises:
        TypeError: An argument is of another type.
        ValueError: `origin` is no absolute URL.
    """

    def __init__(
        self,
        transport: family.Transport | None = None,
        auth: AuthTypes | None = None,
        *,
        origin: str | httpx.URL | None = None,
    ) -> None:
        super().__init__(transport)
        self._auth = checked_auth("auth", auth)
        self._home = None if origin is None else origin_by(origin)

    def __repr__(self) -> str:
        return self._shown_with(f"auth=<{type(self._auth).__name__}>")  # not its repr: it is secret

    def describe(self) -> dict[str, Any]:
        """Return the kind of auth, without what is secret; see `snapshot`."""
        return {"settings": {"auth": None if self._auth is None else type(self._auth).__name__}}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` with credentials, if they belong to its origin.

        Raises:
            TypeError: The credentials are of another family of httpx than the request, or the flow
                yields something else than requests.
            StreamConsumed: The flow wants to send a body again that can be read only once.
            TransportClosedError: The transport was closed before the flow was at its end.
        """
        try:
            auth = self._auth
            if AUTH in request.extensions:
                auth = checked_auth(f"extensions[{AUTH!r}]", request.extensions[AUTH])
            if auth is None or not self._is_home(origin_of(request)):
                return await self._inner.handle_async_request(request)
            return await self._authenticate(request, auth)
        except BaseException as error:
            refuse_mismatch(request, error)
            raise

    def _is_home(self, origin: Hashable) -> bool:
        if self._home is None:
            self._home = origin
        return self._home == origin

    async def _authenticate(self, request: httpx.Request, auth: AuthTypes) -> httpx.Response:
        made = of_family(auth, family.home_of(request))
        flow: _Flow = getattr(made, "async_auth_flow", None) or _flow_of(made)
        signed = copy_of(request)  # the next flow must not find what this one puts into it
        signed.extensions = request.extensions  # where inner layers leave notes for outer ones
        async with aclosing(flow(signed)) as steps:
            return await self._run(steps, signed)

    async def _run(self, steps: "_Steps", signed: httpx.Request) -> httpx.Response:
        waits = self._waits
        sent: Any = await anext(steps, None)
        while True:
            _prepare(sent, signed)
            waits.raise_if_over(signed)
            response = await self._inner.handle_async_request(sent)
            response.request = sent
            try:
                following = await steps.asend(response)
            except StopAsyncIteration:
                return response
            except BaseException:
                await discard(response)
                raise
            if sent is signed and response.status_code not in _REFUSING:
                note_repeated(signed, Delivery.ANSWERED, response.status_code)
            await release(sent, response)
            sent = following


_Steps = AsyncGenerator[httpx.Request, httpx.Response]
_Flow = Callable[[httpx.Request], _Steps]


def _flow_of(sign: Callable[[httpx.Request], httpx.Request]) -> _Flow:
    async def flow(request: httpx.Request) -> _Steps:
        yield sign(request)

    return flow


def _prepare(sent: Any, signed: httpx.Request) -> None:  # noqa: ANN401 - whatever a flow yields
    """Make ready what a flow wants to send: the caller's request, or one of its own."""
    if not isinstance(sent, family.REQUESTS):
        raise TypeError(f"auth must yield or return requests, got a {type(sent).__name__}")
    if TIMEOUT in signed.extensions:  # the flow's own has none, and could wait endlessly
        sent.extensions.setdefault(TIMEOUT, signed.extensions[TIMEOUT])
    read_once(sent)
