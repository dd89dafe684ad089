"""The proxies and authorities of the environment, which no other module of this package reads."""

from os import environ
from urllib.request import getproxies

from walltrack.http.proxy_rules import ProxyRules


def rules_by_environment() -> ProxyRules:
    """Return the proxy rules of the current environment.

    These are the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in upper or lower case,
    and on macOS and Windows the settings of the system.

    Raises:
        ValueError: The URL of a proxy is invalid, or has a scheme that is not supported for
            proxies.
    """
    return ProxyRules(getproxies())


def certificate_file() -> str | None:
    """Return the file of authorities that SSL_CERT_FILE names; None if it names none."""
    return environ.get("SSL_CERT_FILE") or None
