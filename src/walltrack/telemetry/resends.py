"""A request hook that numbers the attempts of a call in their spans."""

from typing import Any, Protocol

from walltrack.core.extensions import ATTEMPT, ROUTE


class Span(Protocol):
    """A span, as far as it has to be known here."""

    def set_attribute(self, key: str, value: Any) -> None:  # noqa: ANN401 - of several types
        """Set an attribute."""
        ...


class RequestInfo(Protocol):
    """What `opentelemetry-instrumentation-httpx` shows a hook of a request."""

    @property
    def url(self) -> Any:  # noqa: ANN401 - a URL of either family
        """The URL."""
        ...

    @property
    def extensions(self) -> Any:  # noqa: ANN401 - a mapping, or None
        """The extensions of the request."""
        ...


async def number_resends(span: Span, request: RequestInfo) -> None:
    """Set `http.request.resend_count` on the span of a retry, and hide the path behind a route.

    A request hook for `opentelemetry-instrumentation-httpx`. Where its transport is inside a stack,
    it makes a span for each attempt; outside of it, one for each call:

        HTTPXClientInstrumentor().instrument(async_request_hook=number_resends)
        AsyncOpenTelemetryTransport(httpx.AsyncHTTPTransport(), request_hook=number_resends)

    If the request has a "walltrack.route", that becomes the `url.template`, and replaces the path
    in the URL of the span.

    Args:
        span: The span of an attempt.
        request: Its request.
    """
    extensions = request.extensions or {}
    attempt = extensions.get(ATTEMPT, 1)
    if attempt > 1:
        span.set_attribute("http.request.resend_count", attempt - 1)
    route = extensions.get(ROUTE)
    if route is None:
        return
    path = "/..."  # a route that is no text hides the path as well
    if isinstance(route, str):
        path = route
        span.set_attribute("url.template", route)
    url = request.url
    shown = f"{url.scheme}://{url.netloc.decode('ascii')}{path}"
    recorded = getattr(span, "attributes", None) or {}
    for name in ("http.url", "url.full"):
        if name in recorded:
            span.set_attribute(name, shown)
