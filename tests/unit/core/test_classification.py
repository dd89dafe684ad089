import httpx
import pytest

from tests.support import get
from walltrack.core.classification import (
    UNCLASSIFIED,
    Classification,
    Classifier,
    Classify,
    Outcome,
)


def answered(body: bytes | None = b"{}", status: int = 429, **headers: str) -> Outcome:
    """The outcome of an attempt with this response."""
    response = httpx.Response(
        status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    return Outcome(get(), response, content=body)


def test_an_outcome_shows_what_came_back() -> None:
    """Status and headers are available, with or without a response."""
    outcome = answered(retry_after="7")
    assert (outcome.status, outcome.headers["retry-after"]) == (429, "7")
    failed = Outcome(get(), error=httpx.ReadError("reset"))
    assert (failed.status, len(failed.headers), failed.content, failed.json()) == (None, 0) + (
        None,
    ) * 2


def test_an_outcome_prints_without_secrets() -> None:
    """It shows how the attempt ended, and no URL, header or body."""
    assert repr(answered(b"hunter2")) == "<Outcome 429, attempt 1>"
    assert repr(Outcome(get(), error=httpx.ReadError("hunter2"), attempt=3)) == (
        "<Outcome ReadError, attempt 3>"
    )


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"", None),
        (b"<html>", None),
        (b"\xff", None),
        pytest.param(b"[" * 60_000, None, id="nested too deeply"),
        (None, None),
    ],
)
def test_json_is_parsed_or_none(body: bytes | None, parsed: object) -> None:
    """A missing or invalid JSON body needs no special case in a function."""
    assert answered(body).json() == parsed


def test_the_first_function_that_says_something_wins() -> None:
    """Later functions are not called; a function that returns None does not decide."""
    asked: list[int] = []

    def function(number: int, said: Classification | None) -> Classify:
        def classify(_: Outcome) -> Classification | None:
            asked.append(number)
            return said

        return classify

    final = Classification(retry=False)
    classifier = Classifier([function(1, None), function(2, final), function(3, None)], print)
    assert classifier(answered()) is final
    assert asked == [1, 2]


def test_nothing_said_leaves_everything_to_the_table() -> None:
    """This holds without any function, too."""
    assert Classifier([lambda _: None], print)(answered()) is UNCLASSIFIED
    assert Classifier([], print)(answered()) == Classification(None, None, None, None)


@pytest.mark.parametrize("bad", [lambda _: 1 / 0, lambda _: True])
def test_a_function_that_fails_is_passed_over_and_reported_once(bad: Classify) -> None:
    """The next function is called, and only the first exception is reported."""
    errors: list[Exception] = []
    final = Classification(retry=False)
    classifier = Classifier([bad, lambda _: final], errors.append)
    assert [classifier(answered()) for _ in range(3)] == [final] * 3
    assert len(errors) == 1
    assert isinstance(errors[0], ZeroDivisionError | TypeError)


def test_an_interrupt_is_not_passed_over() -> None:
    """It ends the program, not only this function."""

    def stop(_: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Classifier([stop], print)(answered())


def test_a_classifier_shows_its_functions_by_name() -> None:
    """In the repr of a transport it reads like a list of functions."""

    class Callable:
        def __call__(self, _: Outcome) -> None:
            """Return None."""

        def __repr__(self) -> str:
            return "Callable()"

    assert repr(Classifier([get, Callable()], print)) == "[get, Callable()]"  # type: ignore[list-item]
