from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from walltrack import Settings, get_settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
DEFAULTS = {
    "circuit_breaker_threshold": 5,
    "circuit_breaker_cooldown": 30,
    "retry_max_retries": 3,
    "retry_backoff_base": 1.0,
    "retry_backoff_cap": 4.0,
    "retry_non_idempotent": "keyed",
    "http_timeout": 10.0,
}
NUMBERS = [field for field, default in DEFAULTS.items() if not isinstance(default, str)]


class Own(Settings):
    """What a user may derive."""

    api_key: SecretStr = SecretStr("")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for field in Own.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_defaults() -> None:
    """Without an environment and without `.env`, every field has the default that is promised."""
    assert Settings().model_dump() == DEFAULTS


@pytest.mark.parametrize("field", NUMBERS)
def test_a_variable_of_the_name_in_capitals_sets_a_field(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment variable sets the field of its name, and that one alone."""
    monkeypatch.setenv(field.upper(), "4")

    assert Settings().model_dump() == {**DEFAULTS, field: 4}


@pytest.mark.parametrize("field", NUMBERS)
def test_a_line_of_dotenv_sets_a_field(field: str) -> None:
    """The `.env` of the working directory is read; what it holds besides does not disturb."""
    Path(".env").write_text(f"OTHER_TOOL=x\n{field.upper()}=4\n", encoding="utf-8")

    assert Settings().model_dump() == {**DEFAULTS, field: 4}


@pytest.mark.parametrize("word", ["keyed", "proven", "always", "never"])
def test_a_word_sets_what_happens_to_unsafe_methods(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values are those of `RetryPolicy(non_idempotent=)`."""
    monkeypatch.setenv("RETRY_NON_IDEMPOTENT", word)
    assert Settings().model_dump() == {**DEFAULTS, "retry_non_idempotent": word}


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the field."""
    monkeypatch.setenv("RETRY_NON_IDEMPOTENT", "sometimes")
    with pytest.raises(ValidationError, match="retry_non_idempotent"):
        Settings()


def test_the_environment_goes_before_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two values, that of the environment counts."""
    Path(".env").write_text("HTTP_TIMEOUT=1\n", encoding="utf-8")
    monkeypatch.setenv("HTTP_TIMEOUT", "2")

    assert Settings().http_timeout == 2.0


def test_an_argument_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument of the program takes precedence."""
    monkeypatch.setenv("HTTP_TIMEOUT", "2")

    assert Settings(http_timeout=3.0).http_timeout == 3.0


@pytest.mark.parametrize("field", DEFAULTS)
def test_an_empty_variable_counts_as_not_set(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`NAME=` in a deployment's file leaves the default in place."""
    monkeypatch.setenv(field.upper(), "")

    assert Settings().model_dump() == DEFAULTS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("circuit_breaker_threshold", "1"),
        ("circuit_breaker_cooldown", "1"),
        ("retry_max_retries", "0"),
        ("retry_max_retries", "100"),
        ("retry_backoff_base", "0"),
        ("retry_backoff_base", "4"),
        ("retry_backoff_cap", "1"),
        ("retry_backoff_cap", "3600"),
        ("http_timeout", "0.001"),
        ("http_timeout", "3600"),
    ],
)
def test_a_bound_itself_is_allowed(field: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest and the highest value of each field pass."""
    monkeypatch.setenv(field.upper(), value)

    assert getattr(Settings(), field) == float(value)


def test_the_highest_backoff_is_allowed() -> None:
    """Base and cap may both be an hour."""
    assert Settings(retry_backoff_base=3600, retry_backoff_cap=3600).retry_backoff_base == 3600


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize(
    "field", ["circuit_breaker_threshold", "circuit_breaker_cooldown", "http_timeout"]
)
def test_0_and_minus_1_are_refused(field: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an argument and from the environment; the message names the field."""
    with pytest.raises(ValidationError, match=field):
        Settings(**{field: value})  # type: ignore[arg-type]  # one of several fields
    monkeypatch.setenv(field.upper(), str(value))
    with pytest.raises(ValidationError, match=field):
        Settings()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in DEFAULTS for value in ("abc", "nan", "inf", "1,5")),
        ("circuit_breaker_threshold", "1.5"),
        ("circuit_breaker_cooldown", "0.5"),
        ("retry_max_retries", "-1"),
        ("retry_max_retries", "101"),
        ("retry_max_retries", "2.5"),
        ("retry_backoff_base", "-1"),
        ("retry_backoff_base", "3600.5"),
        ("retry_backoff_cap", "-1"),
        ("retry_backoff_cap", "3600.5"),
        ("http_timeout", "3600.5"),
    ],
)
def test_a_bad_value_is_refused_with_the_name_of_its_field(
    field: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is out of bounds or of another type is refused, and the message names the field."""
    monkeypatch.setenv(field.upper(), value)

    with pytest.raises(ValidationError, match=field) as caught:
        Settings()
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


@pytest.mark.parametrize(("base", "cap"), [(5.0, 4.0), (1.0, 0.5), (0.001, 0.0)])
def test_a_cap_below_the_base_is_refused(base: float, cap: float) -> None:
    """A cap that the first wait would exceed is refused, and the message names both fields."""
    message = rf"retry_backoff_cap \({cap:g}\) must be at least retry_backoff_base \({base:g}\)"
    with pytest.raises(ValidationError, match=message):
        Settings(retry_backoff_base=base, retry_backoff_cap=cap)


def test_a_cap_equal_to_the_base_is_allowed() -> None:
    """Constant waits are a choice."""
    assert Settings(retry_backoff_base=2.0, retry_backoff_cap=2.0).retry_backoff_cap == 2.0


def test_settings_of_ones_own_keep_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass reads its own variables, and a `SecretStr` among them is not shown."""
    monkeypatch.setenv("API_KEY", "hunter2")

    settings = Own()

    assert settings.api_key.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{settings} {settings!r}"


def test_get_settings_reads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every caller gets the same object, also after the environment has changed."""
    first = get_settings()
    monkeypatch.setenv("HTTP_TIMEOUT", "2")

    assert get_settings() is first
    assert first.http_timeout == 10.0


def test_get_settings_reads_anew_when_its_cache_was_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After `get_settings.cache_clear()` a changed environment is read."""
    get_settings()
    monkeypatch.setenv("HTTP_TIMEOUT", "2")
    get_settings.cache_clear()

    assert get_settings().http_timeout == 2.0


def example_entries() -> list[tuple[str, str, str]]:
    """Name, default and description of each entry in `.env.example`."""
    _, *blocks = EXAMPLE.read_text(encoding="utf-8").strip().split("\n\n")
    entries = []
    for block in blocks:
        comment, assignment = block.split("\n")  # one line each, or this raises
        name, _, default = assignment.partition("=")
        entries.append((name, default, comment.removeprefix("# ")))
    return entries


def test_the_example_lists_every_field_as_the_class_has_it() -> None:
    """Names, defaults and descriptions in `.env.example` are those of the class, and no others."""
    declared: list[tuple[str, Any, str | None]] = [
        (name.upper(), str(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]

    assert example_entries() == declared


def test_the_example_copied_as_it_is_changes_nothing() -> None:
    """Copied to `.env`, the example gives the defaults."""
    Path(".env").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")

    assert Settings().model_dump() == DEFAULTS


def test_a_refusal_shows_no_other_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An error about one value shows no secret of another, from `.env` or from the environment."""
    (tmp_path / ".env").write_text("DATABASE_PASSWORD=hunter1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRY_BACKOFF_CAP", "0.5")
    with pytest.raises(ValidationError) as caught:
        Settings(api_key="hunter2")  # type: ignore[call-arg]

    assert "hunter" not in str(caught.value)


def test_settings_do_not_change() -> None:
    """All clients share one object, so it is immutable."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().http_timeout = 1.0
