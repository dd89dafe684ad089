import errno
import ssl
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
import trustme

from walltrack.http.tls import Contexts

AUTHORITY = trustme.CA()
BOTH = pytest.mark.parametrize("home", [httpx, httpx2], ids=lambda home: home.__name__)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A file with the certificate of an authority."""
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return path


def names(context: ssl.SSLContext) -> list[object]:
    """The authorities that a context trusts."""
    return [cert["subject"] for cert in context.get_ca_certs()]


OURS = names(ssl.create_default_context(cadata=AUTHORITY.cert_pem.bytes().decode()))


@BOTH
def test_each_family_trusts_what_it_trusts_by_itself(home: Any) -> None:  # noqa: ANN401 - a module
    """Httpx trusts Certifi's authorities, httpx2 those of the operating system."""
    context = Contexts(trust_env=False).of(home)
    assert names(context) == names(home.create_ssl_context(trust_env=False))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@BOTH
def test_a_context_is_made_once(home: ModuleType) -> None:
    """All connections of a family share it; the one for proxies is a different object."""
    contexts = Contexts()
    assert contexts.of(home) is contexts.of(home)
    assert contexts.for_proxies(home) is contexts.for_proxies(home)
    assert contexts.for_proxies(home) is not contexts.of(home)
    assert contexts.of(httpx) is not contexts.of(httpx2)


@BOTH
def test_the_environment_names_authorities(
    home: ModuleType, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are ignored with `trust_env=False`."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    for context in (Contexts().of(home), Contexts().for_proxies(home)):
        assert names(context) == OURS
    contexts = Contexts(trust_env=False)
    for context in (contexts.of(home), contexts.for_proxies(home)):
        assert names(context) != OURS


@BOTH
def test_everyone_may_be_trusted(home: ModuleType) -> None:
    """This applies to servers only: a proxy is still verified."""
    contexts = Contexts(verify=False)
    assert contexts.of(home).verify_mode is ssl.CERT_NONE
    assert not contexts.of(home).check_hostname
    assert contexts.for_proxies(home).verify_mode is ssl.CERT_REQUIRED


@BOTH
def test_a_path_is_trusted(home: ModuleType, authority: Path) -> None:
    """A file is loaded; a folder is read when a server is verified."""
    context = Contexts(verify=str(authority)).of(home)
    assert names(context) == OURS
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert names(Contexts(verify=str(authority.parent)).of(home)) == []


@BOTH
def test_a_context_is_used_as_it_is(home: ModuleType) -> None:
    """It is used for both families."""
    given = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert Contexts(verify=given).of(home) is given


def test_a_client_certificate_is_loaded(tmp_path: Path, authority: Path) -> None:
    """From one or two files, with or without a password, whatever `verify` is."""
    leaf = AUTHORITY.issue_cert("client.test")
    both, chain, key = (str(tmp_path / name) for name in ("both.pem", "chain.pem", "key.pem"))
    leaf.private_key_and_cert_chain_pem.write_to_path(both)
    leaf.cert_chain_pems[0].write_to_path(chain)
    leaf.private_key_pem.write_to_path(key)

    class Loading(ssl.SSLContext):
        """Notes what it loads."""

        loaded: tuple[Any, ...] = ()

        def load_cert_chain(self, *args: Any) -> None:  # noqa: ANN401 - handed on
            self.loaded = args
            super().load_cert_chain(*args)

    for cert in (both, (chain, key), (chain, key, "secret")):
        context = Loading(ssl.PROTOCOL_TLS_CLIENT)
        assert Contexts(verify=context, cert=cert).of(httpx) is context
        assert context.loaded == ((cert,) if isinstance(cert, str) else cert)
    Contexts(verify=str(authority), cert=both)
    Contexts(verify=False, cert=both)


@pytest.mark.parametrize("cert", [5, (), ("only",), ("one", 2), ["chain", "key"]])
def test_a_certificate_of_another_type_is_refused(cert: Any) -> None:  # noqa: ANN401 - bad on purpose
    """The message has the argument's name."""
    with pytest.raises(TypeError, match="cert must be a path or a tuple"):
        Contexts(cert=cert)


@pytest.mark.parametrize("verify", [None, 1, b"ca.pem", Path("ca.pem")])
def test_verify_of_another_type_is_refused(verify: Any) -> None:  # noqa: ANN401 - bad on purpose
    """In particular None, which could mean either."""
    with pytest.raises(TypeError, match="verify must be"):
        Contexts(verify=verify)


@pytest.fixture
def empty(tmp_path: Path) -> str:
    """A file without a certificate."""
    path = tmp_path / "empty.pem"
    path.touch()
    return str(path)


def test_a_path_that_leads_to_nothing_is_refused_at_once(
    empty: str, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the first request; the text has the setting and the path, but no password."""
    with pytest.raises(FileNotFoundError, match=r"verify='/nowhere/ca.pem' leads to no cert.*give"):
        Contexts(verify="/nowhere/ca.pem")
    with pytest.raises(ssl.SSLError, match=f"verify='{empty}' leads to no certificate .*give"):
        Contexts(verify=empty)
    with pytest.raises(FileNotFoundError, match=r"cert='/nowhere/client.pem' leads to"):
        Contexts(cert="/nowhere/client.pem")
    with pytest.raises(FileNotFoundError, match=r"'/nowhere/key.pem' leads to") as caught:
        Contexts(cert=(str(authority), "/nowhere/key.pem", "hunter2"))
    assert "hunter2" not in str(caught.value)
    for path, kind in (("/nowhere/ca.pem", FileNotFoundError), (empty, ssl.SSLError)):
        monkeypatch.setenv("SSL_CERT_FILE", path)
        with pytest.raises(kind, match=f"SSL_CERT_FILE='{path}' .* leads to .*trust_env=False"):
            Contexts()
        Contexts(trust_env=False)
        Contexts(verify=False)
        Contexts(verify=str(authority))


@BOTH
def test_a_file_that_has_gone_meanwhile_is_named(
    home: ModuleType, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request that needs it raises the error, also for a proxy."""
    monkeypatch.delenv("SSL_CERT_FILE")
    contexts = Contexts()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.with_name("gone.pem")))
    for load in (contexts.of, contexts.for_proxies):
        with pytest.raises(FileNotFoundError, match=r"SSL_CERT_FILE='.*gone.pem'"):
            load(home)


def test_without_a_file_left_certificates_are_loaded_later(
    authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transport can be made meanwhile; the setting is not the cause."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))

    def exhausted(**_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(httpx, "create_ssl_context", exhausted)
        contexts = Contexts()
        with pytest.raises(OSError, match=r"^.Errno 24. Too many open files$"):
            contexts.of(httpx)
    assert names(contexts.of(httpx)) == OURS


def test_nothing_is_loaded_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a transport does not take the time of loading the authorities."""
    made: list[str] = []
    monkeypatch.delenv("SSL_CERT_FILE")
    for home in (httpx, httpx2):
        monkeypatch.setattr(home, "create_ssl_context", lambda **_: made.append("context"))
    Contexts()
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    Contexts(verify=False)
    Contexts(trust_env=False)
    assert made == []
