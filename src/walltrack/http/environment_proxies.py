"""Sends by the proxies that the environment names, as httpx does unless it is given a transport.

Nothing but this module reads the environment, outside of the settings.
"""

from contextlib import AsyncExitStack
from urllib.request import getproxies

import httpx

from walltrack.core import family
from walltrack.http.proxy_rules import ProxyRules


def transport_by_environment() -> httpx.AsyncBaseTransport:
    """What sends requests like an `httpx.AsyncClient` that was given no transport.

    The environment is read now: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in small letters
    too, and what the system says on macOS and Windows. Without a proxy in it, it is a plain
    `AsyncHTTPTransport()`.

    Raises:
        ValueError: The URL of a proxy is none, or of a scheme that httpx cannot speak to a proxy.
    """
    rules = ProxyRules(getproxies())
    return ProxiedTransport(rules) if rules.proxies else family.default_transport()


class ProxiedTransport(family.AsyncBaseTransport):
    """Sends each request by the proxy that `rules` say, or directly.

    Requests of different schemes by the same proxy share its connections.

    Args:
        rules: Which proxy a request takes.
    """

    def __init__(self, rules: ProxyRules) -> None:
        self._rules = rules
        self._direct = family.default_transport()
        self._by_proxy = {
            url: family.default_transport(proxy=url) for url in set(rules.proxies.values())
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`."""
        proxy = self._rules.proxy_for(request.url)
        transport = self._direct if proxy is None else self._by_proxy[proxy]
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        async with AsyncExitStack() as closing:  # closes the others, too, when one fails to
            for transport in (self._direct, *self._by_proxy.values()):
                closing.push_async_callback(transport.aclose)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._rules!r})"
