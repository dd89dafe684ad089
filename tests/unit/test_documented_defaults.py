"""What a docstring says of an argument is what the signature says."""

import inspect
import re
import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

import walltrack
from walltrack import fleet, testing
from walltrack.core.methods import IDEMPOTENT_METHODS
from walltrack.core.outcome import TRANSIENT_ERRORS

PUBLIC: dict[str, Any] = {
    **{name: getattr(walltrack, name) for name in walltrack.__all__},
    **{name: getattr(testing, name) for name in testing.__all__},
    **{name: getattr(fleet, name) for name in fleet.__all__},
}


class UUIDs:
    """Equal to a function that makes random UUIDs."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return callable(other) and {uuid.UUID(other()).version for _ in range(2)} == {4}


ARGS = re.compile(r"^Args:\n((?:    .*\n|\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^    (\w+): ((?:.|\n(?!    \w))+)", re.MULTILINE)
DEFAULT = re.compile(r"\bDefault: (.+?)\.(?=\s|$)")
NUMBER = re.compile(r"(\d[\d_]*(?:\.\d+)?)( [kM]iB| seconds?| s)?(?=,|$)")
LOGGING = re.compile(r"log them|(?:a )?(?:struct)?log entr(?:y|ies)(?: each)?")
UNITS = {" kiB": 2**10, " MiB": 2**20}
WORDS: dict[str, object] = {
    "429 and every 5xx": frozenset({429, *range(500, 600)}),
    "429 and every 5xx except 501 and 505": frozenset({429, *range(500, 600)} - {501, 505}),
    "timeouts, network and proxy errors, and breaches of the protocol by the server": (
        TRANSIENT_ERRORS
    ),
    "the idempotent ones of the IANA HTTP Method Registry": IDEMPOTENT_METHODS,
    "2030-01-01 in UTC": datetime(2030, 1, 1, tzinfo=UTC),
    "a random UUID": UUIDs(),
    "all share one": None,
    "`RetryPolicy()` with full jitter and without the statuses 501 and 505": walltrack.RetryPolicy(
        backoff=walltrack.Backoff(jitter="full"),
        statuses=walltrack.DEFAULT_RETRY_STATUSES.minus(501, 505),
    ),
    "100 retries, or 10 after timeouts, and 3 for each success": walltrack.RetryBudget(
        100, deposit=3, refused_cost=0.1, timeout_cost=10
    ),
    "5 retries, or one after a timeout, and 0.5 for each success": walltrack.RetryBudget(
        5, deposit=0.5, refill=0.02, refused_cost=0.1, timeout_cost=5
    ),
    "only the limits that a server announces apply": walltrack.RateLimitTransport,
    "10 seconds; none if `breaker` is a layer, which has a longer cooldown and may have keys that"
    " are unknown here": walltrack.WaitingRoomTransport,
    "no limit": None,
    "one for each origin": walltrack.CircuitBreakerTransport,
    "as many connections as httpx opens by default": 100,
    "there is none": None,
    "nothing is shared": None,
    "those to the same origin": walltrack.origin_of,
}


class Described(NamedTuple):
    """An argument with the default that its docstring describes."""

    owner: str
    argument: str
    phrase: str


def documented(owner: object) -> dict[str, str]:
    """The text of each argument in the docstring of `owner`, on one line."""
    args = ARGS.search(f"{inspect.getdoc(owner)}\n")
    entries = ENTRY.findall(args.group(1)) if args else []
    return {name: " ".join(text.split()) for name, text in entries}


def described() -> list[Described]:
    """Every default that a docstring describes."""
    return [
        Described(name, argument, phrase)
        for name, owner in PUBLIC.items()
        for argument, text in documented(owner).items()
        for phrase in DEFAULT.findall(text)
    ]


def plain(phrase: str) -> object:
    """The value that a phrase means; Ellipsis if it describes how the value is determined."""
    if phrase in WORDS:
        return WORDS[phrase]
    if LOGGING.fullmatch(phrase):
        return walltrack.log_event
    if number := NUMBER.match(phrase):
        return float(number[1]) * UNITS.get(number[2], 1)
    if quoted := re.fullmatch(r'"(\w+)"', phrase):
        return quoted[1]
    if (made := re.fullmatch(r"`(\w+)\(\)`", phrase)) and inspect.isclass(PUBLIC[made[1]]):
        return PUBLIC[made[1]]()
    return ...


def with_parameters() -> list[str]:
    """The public names whose docstring describes arguments."""
    return [name for name, owner in PUBLIC.items() if documented(owner)]


@pytest.mark.parametrize("case", described(), ids=lambda case: f"{case.owner}.{case.argument}")
def test_a_default_is_what_the_docstring_says(case: Described) -> None:
    """The docstring states the value, or says what None means, which is then the default."""
    default = inspect.signature(PUBLIC[case.owner]).parameters[case.argument].default
    value = plain(case.phrase)
    expected = None if value is ... else value
    alike = default == expected or repr(default) == repr(expected)
    assert alike, "or the phrase has to be added to WORDS"


def test_the_defaults_are_found() -> None:
    """A pattern that finds nothing would prove nothing."""
    found = described()
    values = [case for case in found if plain(case.phrase) is not ...]
    assert len(found) >= 50
    assert len(values) >= 40


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20, as many as there are", 20),
        ("0.5", 0.5),
        ("10_000", 10_000),
        ("30 seconds", 30),
        ("100 MiB", 100 * 1024 * 1024),
        ('"full"', "full"),
        ("`Backoff()`", walltrack.Backoff()),
        ("no limit", None),
        ("log entries", walltrack.log_event),
        ("log them", walltrack.log_event),
        ("a structlog entry each", walltrack.log_event),
        ("one of its own", ...),
        ("`Settings.http_timeout`", ...),
        ("`get_settings()`", ...),
        ("5xx", ...),
    ],
)
def test_phrases_are_read(text: str, value: object) -> None:
    """Numbers with their units, words, and classes."""
    assert plain(text) == value
    assert DEFAULT.findall(f"What it is. Default: {text}. None: another.") == [text]


@pytest.mark.parametrize("name", with_parameters())
def test_the_arguments_are_those_of_the_signature(name: str) -> None:
    """Each is described, in the order of the signature; an exception may leave some to its base."""
    owner = PUBLIC[name]
    names = list(documented(owner))
    arguments = list(inspect.signature(owner).parameters)
    if inspect.isclass(owner) and issubclass(owner, Exception):
        arguments = [argument for argument in arguments if argument in names]
    assert names == arguments
