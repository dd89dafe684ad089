"""The words of docstrings, messages and comments."""

import re
import tokenize
from functools import cache
from pathlib import Path

TOP = Path(__file__).parents[2]

# Phrases that a reader whose second language is English has to read twice, and what to say instead.
PLAIN_WORDS = {
    r"so many": "a number, or 'that many'",
    r"who(ever|m)?": "'the caller', 'a client'",
    r"nobody": "'no caller'",
    r"by hand": "'manually'",
    r"(is|are|was|were) told": "'the argument states', 'until the mode is changed'",
    r"likewise": "'the same'",
    r"for ?ever": "'permanently', 'without end'",
    r"what may pass": "'what is admitted'",
    r"anew": "'again', 'reset'",
    r"take leave": "'acquire permission'",
    r"stands? (for|in for)": "'means', 'replaces'",
    r"says? something": "'the first result that is not None counts'",
    r"not there at all": "'left out'",
    r"of (your|its|their|our) (making|own making)": "'your own'",
    r"mend(s|ed)?": "'likely to succeed'",
    r"befall(s|en)?|befell": "'affects'",
    r"heed(s|ed)?": "'respects'",
    r"to be sure|be it|for good": "plain words",
    r"under way": "'in flight'",
    r"ought|shall|hence|thus|thereby|wherein|whence": "plain words",
}
TEXT = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def texts_of(path: Path) -> str:
    """Every string and comment of a module, on one line."""
    with path.open("rb") as file:
        return " ".join(
            " ".join(token.string.split())
            for token in tokenize.tokenize(file.readline)
            if token.type in TEXT
        )


@cache
def texts() -> dict[str, str]:
    """The texts of each module."""
    return {
        str(path.relative_to(TOP)): texts_of(path).replace(" # ", " ")
        for folder in ("src", "tests", "examples")
        for path in sorted((TOP / folder).rglob("*.py"))
        if path != Path(__file__)  # the phrases are in it
    }


def test_the_texts_are_found() -> None:
    """Docstrings, comments and the parts of f-strings are read."""
    text = texts()["src/walltrack/core/rejections.py"]
    assert "A layer of this library rejected a request" in text
    assert "taken from the request when it is first read" in text
    assert ": circuit breaker is open" in text


def test_texts_avoid_phrases_that_have_to_be_read_twice() -> None:
    """The message of a failure says what to write instead."""
    any_phrase = re.compile(rf"(?i)\b(?:{'|'.join(PLAIN_WORDS)})\b")
    found = [
        f"{name}: {text[max(match.start() - 40, 0) : match.end() + 30]}; write {plain}"
        for name, text in texts().items()
        for match in any_phrase.finditer(text)
        for phrase, plain in PLAIN_WORDS.items()
        if re.fullmatch(phrase, match[0], re.IGNORECASE)
    ]
    assert found == []
