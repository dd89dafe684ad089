"""The TLS contexts of a transport: which certificates it trusts, and which one it shows."""

import ssl
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import httpx

from walltrack.core import validation

Verify: TypeAlias = bool | str | ssl.SSLContext
Cert: TypeAlias = str | tuple[str, str] | tuple[str, str, str]


class Contexts:
    """Make the TLS context for each family of httpx when it is first needed, and keep it.

    httpx trusts the authorities of certifi, httpx2 those of the operating system: each family gets
    its own. Loading them takes 10 to 20 ms, so one context serves all connections.

    Args:
        verify: True trusts the usual authorities, a path those in that file or folder, False
            everyone. A context is used as it is.
        cert: The client's certificate: the path of its file, with the path of its key and the
            password of that key if they are separate.
        trust_env: Whether SSL_CERT_FILE and SSL_CERT_DIR name the usual authorities.

    Raises:
        TypeError: An argument is of another type.
        OSError: A path leads to no certificate; `ssl.SSLError` is one.
    """

    def __init__(
        self, *, verify: Verify = True, cert: Cert | None = None, trust_env: bool = True
    ) -> None:
        validation.instance("verify", verify, bool | str | ssl.SSLContext)
        if not _is_cert(cert):
            raise TypeError("cert must be a path or a tuple (certificate, key[, password])")
        self._verify = verify
        self._chain: tuple[str, ...] = (cert,) if isinstance(cert, str) else cert or ()
        self._trust_env = trust_env
        self._made: dict[ModuleType, ssl.SSLContext] = {}
        self._for_proxies: dict[ModuleType, ssl.SSLContext] = {}
        if self._chain or isinstance(verify, str):
            self.of(httpx)  # a wrong path is reported here rather than by the first request

    def of(self, home: ModuleType) -> ssl.SSLContext:
        """Return the context for connections to servers."""
        if home not in self._made:
            self._made[home] = self._make(home)
        return self._made[home]

    def for_proxies(self, home: ModuleType) -> ssl.SSLContext:
        """Return the context for connections to https:// proxies, to which `verify` is no matter.

        It is an object of its own: httpcore2 sets the protocols for ALPN on it.
        """
        if home not in self._for_proxies:
            self._for_proxies[home] = _usual(home, verify=True, trust_env=self._trust_env)
        return self._for_proxies[home]

    def _make(self, home: ModuleType) -> ssl.SSLContext:
        verify = self._verify
        if isinstance(verify, ssl.SSLContext):
            context = verify
        elif isinstance(verify, str):
            folder = Path(verify).is_dir()
            context = ssl.create_default_context(
                cafile=None if folder else verify, capath=verify if folder else None
            )
        else:
            context = _usual(home, verify=verify, trust_env=self._trust_env)
        if self._chain:
            context.load_cert_chain(*self._chain)
        return context


def _usual(home: Any, *, verify: bool, trust_env: bool) -> ssl.SSLContext:  # noqa: ANN401 - either family
    context: ssl.SSLContext = home.create_ssl_context(verify=verify, trust_env=trust_env)
    return context


def _is_cert(cert: object) -> bool:
    if isinstance(cert, tuple):
        return len(cert) in (2, 3) and all(isinstance(part, str) for part in cert)
    return cert is None or isinstance(cert, str)
