import pytest

from walltrack.http.environment_proxies import certificate_file, rules_by_environment

PROXY = "http://me:hunter2@proxy.test:3128"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"])
def test_a_proxy_in_the_environment_is_seen(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """In upper and in lower case."""
    monkeypatch.setenv(name, PROXY)
    assert list(rules_by_environment().proxies.values()) == [PROXY]


@pytest.mark.parametrize("name", ["FTP_PROXY", "NO_PROXY", "no_proxy"])
def test_there_may_be_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Variables with other names are ignored."""
    monkeypatch.setenv(name, "something.test")
    assert rules_by_environment().proxies == {}


def test_a_star_turns_proxies_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the same effect as no proxy."""
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "some.test, *")
    assert rules_by_environment().proxies == {}


def test_a_proxy_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the scheme of the requests that it is for, but not its URL."""
    monkeypatch.setenv("HTTPS_PROXY", "gopher://me:hunter2@proxy.test")
    with pytest.raises(ValueError, match="the environment's proxy for https://") as caught:
        rules_by_environment()
    assert "hunter2" not in str(caught.value)


def test_a_file_of_authorities_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty name is ignored."""
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ca.pem")
    assert certificate_file() == "/etc/ca.pem"
    monkeypatch.setenv("SSL_CERT_FILE", "")
    assert certificate_file() is None
    monkeypatch.delenv("SSL_CERT_FILE")
    assert certificate_file() is None
