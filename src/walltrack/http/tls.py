"""The TLS contexts of a transport: trusted authorities, and the client certificate."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import httpx

from walltrack.core import validation
from walltrack.core.causes import is_out_of_resources
from walltrack.http.environment_proxies import certificate_file

Verify: TypeAlias = bool | str | ssl.SSLContext
Cert: TypeAlias = str | tuple[str, str] | tuple[str, str, str]


class Contexts:
    """Make a TLS context for each family of httpx when it is first needed, and keep it.

    httpx trusts the authorities of certifi, httpx2 those of the operating system. Loading them
    takes 10 to 20 ms, so all connections of a family share one context.

    Args:
        verify: True: trust the usual authorities. A path: trust those in that file or folder.
            False: do not verify certificates. A context is used as it is.
        cert: The client certificate: its path, or a tuple of its path, the path of its key and
            optionally the password of the key.
        trust_env: Whether SSL_CERT_FILE and SSL_CERT_DIR name the usual authorities.

    Raises:
        TypeError: An argument has another type.
        OSError: A path, also that of SSL_CERT_FILE, does not lead to a certificate; `ssl.SSLError`
            is a subclass.
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
        named = verify is True and trust_env and certificate_file()
        if self._chain or isinstance(verify, str) or named:
            self._check()

    def of(self, home: ModuleType) -> ssl.SSLContext:
        """Return the context for connections to servers."""
        if home not in self._made:
            self._made[home] = self._make(home)
        return self._made[home]

    def for_proxies(self, home: ModuleType) -> ssl.SSLContext:
        """Return the context for connections to https:// proxies; `verify` does not affect it.

        It is a separate object, because httpcore2 sets its ALPN protocols.
        """
        if home not in self._for_proxies:
            self._for_proxies[home] = _usual(home, verify=True, trust_env=self._trust_env)
        return self._for_proxies[home]

    def _check(self) -> None:
        """Report a wrong path now, and not at the first request."""
        try:
            self.of(httpx)
        except OSError as error:
            if not is_out_of_resources(error):  # the first request loads the certificates again
                raise

    def _make(self, home: ModuleType) -> ssl.SSLContext:
        verify = self._verify
        if isinstance(verify, ssl.SSLContext):
            context = verify
        elif isinstance(verify, str):
            folder = Path(verify).is_dir()
            with _naming(f"verify={verify!r}", "give the path of a PEM file or of a folder"):
                context = ssl.create_default_context(
                    cafile=None if folder else verify, capath=verify if folder else None
                )
        else:
            context = _usual(home, verify=verify, trust_env=self._trust_env)
        if self._chain:
            paths = " and ".join(map(repr, self._chain[:2]))  # what follows is the password
            with _naming(f"cert={paths}", "give a PEM file, with its key and password if needed"):
                context.load_cert_chain(*self._chain)
        return context


def _usual(home: Any, *, verify: bool, trust_env: bool) -> ssl.SSLContext:  # noqa: ANN401 - either family
    path = certificate_file() if verify and trust_env else None
    if path is None:
        usual: ssl.SSLContext = home.create_ssl_context(verify=verify, trust_env=trust_env)
        return usual
    with _naming(
        f"SSL_CERT_FILE={path!r} in the environment", "correct it, or use trust_env=False"
    ):
        named: ssl.SSLContext = home.create_ssl_context(verify=True)
    return named


@contextmanager
def _naming(source: str, advice: str) -> Iterator[None]:
    """Have an error say which setting leads to no certificate, and what to do."""
    try:
        yield
    except OSError as error:
        if is_out_of_resources(error):
            raise
        raise type(error)(
            error.errno, f"{source} leads to no certificate ({error.strerror}): {advice}"
        ) from error


def _is_cert(cert: object) -> bool:
    if isinstance(cert, tuple):
        return len(cert) in (2, 3) and all(isinstance(part, str) for part in cert)
    return cert is None or isinstance(cert, str)
