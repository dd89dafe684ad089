import httpx
import pytest

from walltrack import origin_of
from walltrack.core.shared_names import name_of_origin, name_of_service


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.test/a?b", "https://api.test"),
        ("https://api.test:443/", "https://api.test"),
        ("http://api.test:8080/", "http://api.test:8080"),
        ("http://user:secret@api.test/", "http://api.test"),
        ("http://[::1]:80/", "http://::1"),
        ("https://münchen.test/", "https://xn--mnchen-3ya.test"),
    ],
)
def test_an_origin_stays_readable(url: str, name: str) -> None:
    """Its name is a plain URL of the origin, without userinfo and default port."""
    assert name_of_origin(origin_of(httpx.Request("GET", url))) == name


def test_another_key_is_hashed() -> None:
    """It can be a tenant's token; equal keys have equal names in every process."""
    name = name_of_origin("hunter2")
    assert name == "key:710d7bffec6b0a119c43c404841ea136"
    assert name != name_of_origin(("hunter2",))


def test_no_name_has_braces() -> None:
    """The text in braces would choose the slot of a key in a cluster."""
    assert name_of_origin(("ht{tp", b"a}b", 80)) == "ht%7Btp://a%7Db:80"
    assert name_of_service("a{b} c") == "service:a%7Bb%7D%20c"
