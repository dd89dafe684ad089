"""Settings from environment variables and `.env`; read by `services` alone."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

NonIdempotent = Literal["keyed", "proven", "always", "never"]


class Settings(BaseSettings):
    """The default settings of every `BaseAPIClient`.

    Each field is read from the environment variable with its name in upper case, or else from
    `.env`. An empty value counts as not set. Subclass it to add your own settings; declare secrets
    as `SecretStr`, which `BaseAPIClient` unwraps only when it builds a request.

    Raises:
        pydantic.ValidationError: A value has the wrong type or is out of bounds; the error names
            the field.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,  # one object is shared by all clients
        hide_input_in_errors=True,  # else an error would show other lines of .env with secrets
    )

    if not TYPE_CHECKING:  # pragma: no branch

        def __init__(self, **values: Any) -> None:  # noqa: ANN401 - checked by pydantic
            # Else the signature would show thirty options of pydantic before these fields.
            super().__init__(**values)

    circuit_breaker_threshold: int = Field(
        default=5, ge=1, le=1_000_000, description="Failures in a row that open a circuit."
    )
    circuit_breaker_cooldown: int = Field(
        default=30, ge=1, le=86_400, description="Seconds that a circuit stays open before a probe."
    )
    retry_max_retries: int = Field(
        default=3, ge=0, le=100, description="Maximum number of retries; 0 turns them off."
    )
    retry_backoff_base: float = Field(
        default=1.0, ge=0, le=3600, description="Seconds before the first retry; then doubled."
    )
    retry_backoff_cap: float = Field(
        default=4.0, ge=0, le=3600, description="Longest backoff between two attempts, in seconds."
    )
    retry_non_idempotent: NonIdempotent = Field(
        default="keyed",
        description="What happens to POST and PATCH: keyed, proven, always or never.",
    )
    http_timeout: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Seconds to wait for a connection, for each write and for each read.",
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
    """Return the settings, read once; `get_settings.cache_clear()` makes it read them again."""
    return Settings()
