"""Decide which proxy a request uses, by the settings of the environment."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import httpx

_ANY: Final = "all"  # as in ALL_PROXY
_SCHEMES: Final = ("http", "https", _ANY)
PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")


class ProxyRules:
    """The proxies of an environment, and the hosts that are reached without a proxy.

    Args:
        environment: What `urllib.request.getproxies()` returns: the URL of the proxy for each of
            "http", "https" and "all", and under "no" the exemptions, separated by commas.

    Raises:
        ValueError: The URL of a proxy is invalid, or has a scheme that httpx does not support for
            proxies.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._proxies: dict[str, str | None] = {}
        self._exemptions: list[_Exemption] = []
        entries = [entry.strip() for entry in environment.get("no", "").split(",")]
        if "*" in entries:
            return
        for scheme in _SCHEMES:
            if url := environment.get(scheme):
                self._proxies[scheme] = _valid(scheme, url)
        for entry in filter(None, entries):
            self._exempt(entry)

    @property
    def proxies(self) -> dict[str, str]:
        """The URL of the proxy for each scheme, including "all"; each URL contains its userinfo."""
        return {scheme: url for scheme, url in self._proxies.items() if url}

    def __repr__(self) -> str:
        shown = (f"{scheme}: {_shown(url)}" for scheme, url in self.proxies.items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def proxy_for(self, url: httpx.URL) -> str | None:
        """Return the URL of the proxy for a request to `url`; None if it uses no proxy.

        1. An exemption with a host or a port decides first.
        2. Then the entry for the scheme, which is a proxy or an exemption.
        3. Then the entry for all schemes.
        """
        if any(exemption.covers(url) for exemption in self._exemptions):
            return None
        proxies = self._proxies
        return proxies[url.scheme] if url.scheme in proxies else proxies.get(_ANY)

    def _exempt(self, entry: str) -> None:
        try:
            exemption = _Exemption.of(entry)
        except httpx.InvalidURL:  # ignored, as by curl, Go and httpx2; httpx would raise
            return
        if exemption.host or exemption.port is not None:
            self._exemptions.append(exemption)
        elif entry.endswith("://"):  # a whole scheme
            self._proxies[exemption.scheme] = None
        else:
            self._proxies.setdefault(exemption.scheme, None)


@dataclass(frozen=True, slots=True)
class _Exemption:
    """One entry of NO_PROXY.

    1. `example.com` covers the host and its subdomains; `.example.com` and `*.example.com` cover
       only its subdomains.
    2. `localhost`, an IP address, and every entry with a scheme cover exactly that host.
    3. `10.0.0.0/8` and `fd00::/8` cover the addresses of a network. A netmask is not supported, as
       in other clients: `10.0.0.0/255.0.0.0` covers the host `10.0.0.0`.
    4. `scheme://` and `:port` restrict any of these.
    """

    scheme: str
    host: str
    port: int | None
    itself: bool
    below: bool
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None

    @classmethod
    def of(cls, entry: str) -> Self:
        scheme, given, rest = entry.rpartition("://")
        address, slash, prefix = rest.partition("/")
        if _is_address(address):
            rest = f"[{address}]{slash}{prefix}" if ":" in address else rest
        elif not (given or rest.startswith("*.") or rest.lower() == "localhost"):
            rest = f"*{rest}"
        starred = rest.startswith("*")
        url = httpx.URL(f"{scheme or _ANY}://{rest.removeprefix('*')}")
        host = _host(url)
        below_only = starred and host.startswith(".") and host != "."
        return cls(
            scheme=url.scheme,
            host=host.removeprefix(".") if below_only else host,
            port=url.port,
            itself=not below_only,
            below=starred,
            network=_network(host, url.path),
        )

    def covers(self, url: httpx.URL) -> bool:
        if self.scheme not in (_ANY, url.scheme) or self.port not in (None, url.port):
            return False
        host = _host(url)
        if self.network is not None:
            return _is_address(host) and ipaddress.ip_address(host) in self.network
        return (
            not self.host
            or (self.itself and host == self.host)
            or (self.below and host.endswith(f".{self.host}"))
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")  # `host` would decode IDNA in the first label only


def _network(host: str, path: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    prefix = path.removeprefix("/")
    if not prefix.isdecimal() or not _is_address(host):
        return None
    try:
        return ipaddress.ip_network(f"{host}/{prefix}", strict=False)
    except ValueError:  # longer than the address
        return None


def _valid(scheme: str, url: str) -> str:
    # With a text of our own, and outside of `except`: that of httpx can show a part of a password.
    url = url if "://" in url else f"http://{url}"
    kind = url.partition("://")[0].lower()
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        host = ""
    if host and kind in PROXY_SCHEMES:
        return url
    raise ValueError(
        f"the environment's proxy for {scheme}:// must be a URL whose scheme is "
        f"{', '.join(PROXY_SCHEMES[:-1])} or {PROXY_SCHEMES[-1]}"
    )


def _shown(url: str) -> str:
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
