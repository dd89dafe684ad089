"""Settings from environment variables and `.env`; read by `services` alone."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

NonIdempotent = Literal["keyed", "proven", "always", "never"]


class Settings(BaseSettings):
    """How every `BaseAPIClient` behaves unless it is told otherwise.

    A field is set by the environment variable of its name in capitals, else by a line of `.env`.
    An empty value counts as not set. Subclass it for settings of your own; declare secrets as
    `SecretStr`, which `BaseAPIClient` unwraps only where it builds a request.

    Raises:
        pydantic.ValidationError: A value is of the wrong type or out of bounds; it names the field.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,  # one object serves everybody
        hide_input_in_errors=True,  # or an error would show other lines of .env, secrets and all
    )

    if not TYPE_CHECKING:

        def __init__(self, **values: Any) -> None:  # noqa: ANN401 - checked by pydantic
            # Or a signature would show thirty options of pydantic's before these fields.
            super().__init__(**values)

    circuit_breaker_threshold: int = Field(
        default=5, ge=1, le=1_000_000, description="Failures in a row that open a circuit."
    )
    circuit_breaker_cooldown: int = Field(
        default=30, ge=1, le=86_400, description="Seconds that a circuit stays open before a probe."
    )
    retry_max_retries: int = Field(
        default=3, ge=0, le=100, description="Retries after the first attempt; 0 turns them off."
    )
    retry_backoff_base: float = Field(
        default=1.0, ge=0, le=3600, description="Seconds before the first retry; then it doubles."
    )
    retry_backoff_cap: float = Field(
        default=4.0, ge=0, le=3600, description="Seconds that no wait between attempts exceeds."
    )
    retry_non_idempotent: NonIdempotent = Field(
        default="keyed",
        description="What happens to POST and PATCH: keyed, proven, always or never.",
    )
    http_timeout: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Seconds to wait for a connection, for a write, and for each read.",
    )

    @model_validator(mode="after")
    def _cap_covers_base(self) -> Self:
        if self.retry_backoff_cap < self.retry_backoff_base:
            raise ValueError(
                f"retry_backoff_cap ({self.retry_backoff_cap:g}) must be at least "
                f"retry_backoff_base ({self.retry_backoff_base:g})"
            )
        return self


@lru_cache
def get_settings() -> Settings:
    """The settings, read once; `get_settings.cache_clear()` has them read anew."""
    return Settings()
