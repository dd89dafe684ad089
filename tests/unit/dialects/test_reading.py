import httpx
import pytest

from tests.support import get
from tests.unit.dialects.answers import answer, limited
from walltrack.core.classification import Outcome
from walltrack.dialects.reading import (
    error_of,
    object_of,
    rate_limited,
    text_in,
    wait_of,
    xml_code_of,
)


def test_a_rate_limit_is_no_failure_and_was_not_acted_on() -> None:
    """The same request may be sent again, even if it is not idempotent."""
    assert rate_limited(7.0) == limited(7.0)


def test_a_wait_is_read_from_the_headers_alone() -> None:
    """It is returned in full, and measured by the server's clock."""
    date = {"Date": "Tue, 20 Aug 2013 14:50:41 GMT"}
    assert wait_of(answer(429, {"Retry-After": "9999999"})) == 9_999_999.0
    assert wait_of(answer(503, {"Retry-After": "Tue, 20 Aug 2013 14:50:51 GMT"} | date)) == 10.0
    assert wait_of(answer(429)) is None
    assert wait_of(Outcome(get(), error=httpx.ReadError("reset"))) is None


@pytest.mark.parametrize("body", [None, "", "<html>", "[]", "[1]", "null", '"error"', "[" * 60_000])
def test_a_body_that_is_no_object_is_an_empty_one(body: str | None) -> None:
    """A lookup in it finds nothing, which needs no special case."""
    assert object_of(answer(400, body=body)) == error_of(answer(400, body=body)) == {}


@pytest.mark.parametrize("error", [None, "text", 5, [{"code": "x"}]])
def test_an_error_that_is_no_object_is_an_empty_one(error: object) -> None:
    """Some APIs send a text instead."""
    assert error_of(answer(400, body={"error": error})) == {}
    assert error_of(answer(400, body={"error": {"code": "x"}})) == {"code": "x"}


@pytest.mark.parametrize(("value", "text"), [("x", "x"), (5, ""), (None, ""), (["x"], "")])
def test_only_text_is_a_code(value: object, text: str) -> None:
    """Numbers, null and other values are not codes; the result can be compared like one."""
    assert text_in({"code": value}, "code") == text
    assert text_in({}, "code") == ""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("<Error><Code>SlowDown</Code></Error>", "SlowDown"),
        ("\ufeff<?xml version='1.0'?>\n<Error><Code> SlowDown\n</Code></Error>", "SlowDown"),
        ("<Error><Code>A.B</Code><Code>C</Code></Error>", "A.B"),
        ("<Error><Code></Code></Error>", ""),
        ("<Error><Code>not a code</Code></Error>", ""),
        ("<Error><Code>" + "x" * 101 + "</Code></Error>", ""),
        ("The <Code>SlowDown</Code> means", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_first_code_of_an_xml_body_is_read(body: str | None, code: str) -> None:
    """S3, EC2 and Azure Storage have it at different depths."""
    assert xml_code_of(answer(400, body=body)) == code


@pytest.mark.parametrize("piece", ["<Code>", "<Code>x", "<Code> ", " ", "x"])
def test_a_long_xml_body_takes_one_pass(piece: str) -> None:
    """No response from a server keeps its client busy."""
    assert xml_code_of(answer(400, body="<" + piece * (60_000 // len(piece)))) == ""
