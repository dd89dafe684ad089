"""The error of a call that finally failed; its text contains no secrets."""

import ssl
from typing import Final
from urllib.parse import unquote_plus

import httpx

from walltrack.core.causes import chain_of
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import (
    ExternalServiceError,
    ResponseTooLargeError,
    TimeLimitExceededError,
)
from walltrack.core.extensions import ATTEMPTS, IDEMPOTENCY_KEY, ROUTE, CallReport
from walltrack.core.naming import path_of
from walltrack.core.outcome import delivery_of

_CONFLICT: Final = 409


def of_response(service: str, report: CallReport, response: httpx.Response) -> ExternalServiceError:
    """Return the error for a final 4xx or 5xx; its cause is an `httpx.HTTPStatusError`."""
    attempts = attempts_of(response)
    answer = f"{response.status_code} {httpx.codes.get_reason_phrase(response.status_code)}".strip()
    message = f"{_asked(response.request)} was answered {answer} after {_counted(attempts)}"
    # The conflict may be with an earlier attempt of the same call.
    is_open = response.status_code == _CONFLICT and report.delivery is Delivery.UNCERTAIN
    if is_open:
        message += " (an earlier attempt may have been processed)"
    error = ExternalServiceError(
        service,
        message,
        response.status_code,
        attempts=attempts,
        delivery=Delivery.UNCERTAIN if is_open else Delivery.ANSWERED,
        idempotency_key=response.extensions.get(IDEMPOTENCY_KEY),
    )
    # With a text of our own, because that of httpx shows the whole URL.
    error.__cause__ = httpx.HTTPStatusError(message, request=response.request, response=response)
    return error


def of_error(
    service: str,
    request: httpx.Request,
    report: CallReport,
    cause: httpx.RequestError | ssl.SSLError,
) -> ExternalServiceError:
    """Return the error for a call that ended without a response; its cause is an httpx error."""
    if isinstance(cause, ssl.SSLError):  # from a damaged record; asyncio raises it unchanged
        cause = httpx.ReadError("the TLS connection broke", request=request)
    delivery = report.delivery or delivery_of(cause)
    error = ExternalServiceError(
        service,
        f"{_asked(request)} {_happened(cause)} after {_counted(report.attempts)}"
        f" ({_ACTED[delivery]})",
        attempts=report.attempts,
        delivery=delivery,
        idempotency_key=report.idempotency_key,
    )
    error.__cause__ = _without_secrets(request, cause)
    return error


def report_of(response: httpx.Response) -> CallReport:
    """Return what a response shows of its call."""
    key = response.extensions.get(IDEMPOTENCY_KEY)
    return CallReport(attempts_of(response), idempotency_key=key)


def attempts_of(response: httpx.Response) -> int:
    """Return how many attempts were made until `response` came."""
    attempts: int = response.extensions.get(ATTEMPTS, 1)
    return attempts


def request_of(error: httpx.RequestError) -> httpx.Request | None:
    """Return the request of `error`; None if it has none."""
    try:
        return error.request
    except RuntimeError:  # raised by httpx if there is none
        return None


_ACTED = {
    Delivery.NOT_SENT: "it was not sent",
    Delivery.UNCERTAIN: "the service may have acted on it",
    Delivery.ANSWERED: "the service answered",
}


def _happened(cause: httpx.RequestError) -> str:
    if isinstance(cause, ResponseTooLargeError):
        return f"was answered with more than max_response_bytes={cause.max_bytes}"
    if isinstance(cause, TimeLimitExceededError):
        return f"was not done within {cause.seconds:g} s ({cause.limit})"
    return f"failed with {type(cause).__name__}"


def _asked(request: httpx.Request) -> str:
    return f"{request.method} {path_of(request)}"


def _counted(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"


def _without_secrets(request: httpx.Request, error: httpx.RequestError) -> httpx.RequestError:
    # 1. The text of a protocol error quotes header values or lines of the response.
    # 2. A third-party transport may put the URL into its text.
    # 3. The request that failed may be a redirect, with its own query.
    # 4. A path that a route replaces may contain a secret.
    urls = {request.url, (request_of(error) or request).url}
    text = "".join(map(repr, chain_of(error)))
    has_route = ROUTE in request.extensions
    shown = any(
        secret in text for url in urls for secret in _secrets_in(url, has_route=has_route) if secret
    )
    if not shown and not isinstance(error, httpx.ProtocolError):
        return error
    httpx_class: type[httpx.RequestError] = next(
        kind for kind in type(error).__mro__ if kind.__module__ == "httpx"
    )
    return httpx_class("text withheld: it may show a secret", request=request)


def _secrets_in(url: httpx.URL, *, has_route: bool) -> tuple[str, ...]:
    query = url.query.decode("ascii")
    userinfo = url.userinfo.decode("ascii")
    raw_path = url.raw_path.partition(b"?")[0].decode("ascii")
    paths = (raw_path.strip("/"), url.path.strip("/")) if has_route else ()
    return query, unquote_plus(query), userinfo, url.username, url.password, *paths
