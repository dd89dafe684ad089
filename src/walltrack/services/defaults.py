"""What a client takes from the settings where it is given nothing."""

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.config.settings import Settings
from walltrack.core.backoff import Backoff
from walltrack.retry.policy import RetryPolicy


def policy_by(settings: Settings) -> RetryPolicy:
    """The retry policy that the settings describe."""
    backoff = Backoff(base=settings.retry_backoff_base, cap=settings.retry_backoff_cap)
    return RetryPolicy(
        max_retries=settings.retry_max_retries,
        backoff=backoff,
        non_idempotent=settings.retry_non_idempotent,
    )


def breaker_by(settings: Settings, service: str) -> CircuitBreaker:
    """A circuit breaker for `service` as the settings describe it."""
    return CircuitBreaker(
        settings.circuit_breaker_threshold, settings.circuit_breaker_cooldown, service=service
    )
