import math
import subprocess
import sys

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import get
from tests.unit.dialects.answers import answer
from walltrack import dialects
from walltrack.core.classification import Classification, Classify, Outcome

EACH = pytest.mark.parametrize(
    "dialect", [getattr(dialects, name) for name in dialects.__all__], ids=dialects.__all__
)

NAMES = st.sampled_from(
    [
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
        "date",
        "retry-after",
        "retry-after-ms",
        "stripe-should-retry",
        "x-amz-retry-after",
        "x-amzn-errortype",
        "x-amzn-query-error",
        "x-ms-error-code",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-should-retry",
    ]
)
VALUES = st.one_of(
    st.sampled_from(["0", "1", "true", "false", "6m0s", "Throttling", "#", ":", ";", ""]),
    st.integers().map(str),
    st.datetimes().map(str),
    st.binary(max_size=40).map(lambda value: value.decode("latin-1")),
)
PIECES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(["insufficient_quota", "RATE_LIMITED", "Throttling", "secondary rate limit"]),
    st.text(max_size=10),
)
KEYS = st.sampled_from(["error", "errors", "code", "Code", "type", "__type", "details", "message"])
OBJECTS = st.recursive(
    PIECES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.builds(b"<Code>%b</Code>".__mod__, st.binary(max_size=10).map(lambda code: (code,))),
)


def has_meaning(said: object) -> bool:
    """Whether the result is None, or a classification that a layer can use."""
    if said is None:
        return True
    assert isinstance(said, Classification)
    return said.retry_after is None or 0.0 <= said.retry_after <= math.inf


@EACH
@given(
    status=st.integers(100, 599),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=6),
    body=BODIES,
    attempt=st.integers(),
)
@example(status=429, headers=[], body=b"[" * 60_000, attempt=1)
@example(status=403, headers=[("retry-after", "9" * 5000)], body=b'{"message":5}', attempt=1)
def test_no_response_breaks_a_dialect(
    dialect: Classify,
    status: int,
    headers: list[tuple[str, str]],
    body: bytes | None,
    attempt: int,
) -> None:
    """Any status, headers and body give a classification or None, and never raise."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    response = httpx.Response(status, headers=raw)
    assert has_meaning(dialect(Outcome(get(), response, attempt=attempt, content=body)))


@EACH
@given(status=st.sampled_from([200, 400, 403, 409, 429, 500, 503]), body=OBJECTS)
def test_no_json_breaks_a_dialect(dialect: Classify, status: int, body: object) -> None:
    """A vendor's field may contain any JSON value."""
    assert has_meaning(dialect(answer(status, body=body)))


@EACH
@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), OSError(), KeyboardInterrupt()])
def test_a_dialect_knows_responses_only(dialect: Classify, error: BaseException) -> None:
    """An attempt without a response is left to the table."""
    assert dialect(Outcome(get(), error=error)) is None


def test_the_dialects_are_sorted() -> None:
    """The names are in order, and each is a function of this name."""
    assert dialects.__all__ == sorted(dialects.__all__)
    assert [getattr(dialects, name).__name__ for name in dialects.__all__] == dialects.__all__


@EACH
def test_a_dialect_cites_its_vendor(dialect: Classify) -> None:
    """A reader can compare it with its source."""
    assert "See https://" in (dialect.__doc__ or "")


def test_a_program_without_a_dialect_loads_none() -> None:
    """The layers do not import them."""
    code = (
        "import sys; from walltrack import BaseAPIClient, resilient_transport; "
        "assert not [name for name in sys.modules if name.startswith('walltrack.dialects')]; "
        "from walltrack import dialects; assert dialects.github"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
