"""The options of a transport that sends over the network, validated."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, TypeAlias, TypedDict

import httpx

from walltrack.core import family, validation
from walltrack.http.proxy_rules import PROXY_SCHEMES
from walltrack.http.tls import Cert, Contexts, Verify

SocketOption: TypeAlias = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)
ProxyTypes: TypeAlias = str | httpx.URL | httpx.Proxy

DEFAULT_LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20)
"""The default limits of httpx."""

_OPTION_SIZES: Final = (3, 4)


class HTTPOptions(TypedDict, total=False):
    """The options of `HTTPTransport`, for functions that pass them on."""

    verify: Verify
    cert: Cert | None
    http1: bool
    http2: bool
    limits: httpx.Limits
    trust_env: bool
    proxy: ProxyTypes | None
    uds: str | None
    local_address: str | None
    retries: int
    socket_options: Iterable[SocketOption] | None


@dataclass(frozen=True, slots=True)
class Options:
    """The options of every pool of connections of one transport."""

    contexts: Contexts
    http1: bool
    http2: bool
    limits: httpx.Limits
    trust_env: bool
    proxy: httpx.Proxy | None
    uds: str | None
    local_address: str | None
    retries: int
    socket_options: tuple[SocketOption, ...] | None

    @property
    def asks_environment(self) -> bool:
        """Whether proxies of the environment apply: no option says where to connect."""
        return self.trust_env and self.proxy is None and self.uds is None

    def describe(self) -> dict[str, Any]:
        """Return those that say how connections are made, as JSON has them; no path, no proxy."""
        return {
            "http1": self.http1,
            "http2": self.http2,
            "max_connections": self.limits.max_connections,
            "max_keepalive_connections": self.limits.max_keepalive_connections,
            "keepalive_expiry": self.limits.keepalive_expiry,
            "trust_env": self.trust_env,
            "retries": self.retries,
        }


def checked(
    *,
    verify: Verify,
    cert: Cert | None,
    http1: bool,
    http2: bool,
    limits: httpx.Limits,
    trust_env: bool,
    proxy: ProxyTypes | None,
    uds: str | None,
    local_address: str | None,
    retries: int,
    socket_options: Iterable[SocketOption] | None,
) -> Options:
    """Return the options; reject invalid ones, and those that contradict each other.

    Raises:
        TypeError: An option has another type.
        ValueError: An option is out of range, or contradicts another one.
        ImportError: An option needs a package that is not installed.
        OSError: A path, also that of SSL_CERT_FILE, does not lead to a certificate.
    """
    for name, flag in (("http1", http1), ("http2", http2), ("trust_env", trust_env)):
        validation.instance(name, flag, bool)
    if not (http1 or http2):
        raise ValueError("http1 and http2 must not both be False")
    if http2:
        _need("h2", "http2=True", "httpx[http2]")
    if not isinstance(limits, family.each("Limits")):
        raise TypeError(f"limits must be a Limits of httpx, got {limits!r}")
    validation.instance("uds", uds, str | None)
    validation.instance("local_address", local_address, str | None)
    validation.integer("retries", retries, minimum=0)
    if uds is not None and proxy is not None:
        raise ValueError("uds and proxy must not both be given: a request uses only one of them")
    return Options(
        contexts=Contexts(verify=verify, cert=cert, trust_env=trust_env),
        http1=http1,
        http2=http2,
        limits=limits,
        trust_env=trust_env,
        proxy=None if proxy is None else proxy_by(proxy),
        uds=uds,
        local_address=local_address,
        retries=retries,
        socket_options=None if socket_options is None else _valid(socket_options),
    )


def proxy_by(proxy: ProxyTypes) -> httpx.Proxy:
    """Return the proxy that a URL names, or `proxy` itself.

    Raises:
        TypeError: `proxy` is neither a URL nor a Proxy.
        ValueError: The URL is invalid, or its scheme is not supported for proxies. The message does
            not show it, since it may contain a password.
        ImportError: The proxy needs a package that is not installed.
    """
    made: Any = proxy
    if not isinstance(proxy, family.each("Proxy")):
        made = _proxy_of(str(proxy)) if isinstance(proxy, (str, *family.URLS)) else None
        if made is None:
            raise TypeError(
                f"proxy must be a URL or a Proxy of httpx, got a {type(proxy).__name__}"
            )
    if made.url.scheme.startswith("socks"):
        _need("socksio", "a SOCKS proxy", "httpx[socks]")
    valid: httpx.Proxy = made
    return valid


def _proxy_of(url: str) -> httpx.Proxy:
    try:
        made = httpx.Proxy(url)
    except (httpx.InvalidURL, ValueError):
        made = None
    if made is None or not made.url.host:  # outside of `except`: its text may show a password
        *others, last = PROXY_SCHEMES
        raise ValueError(f"proxy must be a URL whose scheme is {', '.join(others)} or {last}")
    return made


def _need(package: str, what: str, extra: str) -> None:
    if find_spec(package) is None:
        raise ImportError(f"{what} needs the package {package}: pip install '{extra}'")


def _valid(options: Iterable[SocketOption]) -> tuple[SocketOption, ...]:
    if not isinstance(options, Iterable):
        raise TypeError(f"socket_options must be a list of tuples, got {options!r}")
    made = tuple(options)  # an iterator would have options for the first connection only
    for option in made:
        if not (isinstance(option, tuple) and len(option) in _OPTION_SIZES):
            raise TypeError(f"socket_options must be tuples for setsockopt(), got {option!r}")
    return made
