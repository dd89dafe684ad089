"""The proxies that the environment names; nothing else here reads the environment."""

from urllib.request import getproxies

from walltrack.http.proxy_rules import ProxyRules


def rules_by_environment() -> ProxyRules:
    """Return which proxies requests take, by what the environment says now.

    HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are read, in lower case too, and what the system
    says on macOS and Windows.

    Raises:
        ValueError: The URL of a proxy is none, or of a scheme that is not spoken to proxies.
    """
    return ProxyRules(getproxies())
