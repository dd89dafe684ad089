"""The defaults of a client, made from the settings."""

from collections.abc import Callable, Hashable
from typing import Any

import httpx

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.config.settings import Settings
from walltrack.core.backoff import Backoff
from walltrack.retry.policy import RetryPolicy


def policy_by(settings: Settings) -> RetryPolicy:
    """Return the retry policy of the settings."""
    backoff = Backoff(base=settings.retry_backoff_base, cap=settings.retry_backoff_cap)
    return RetryPolicy(
        max_retries=settings.retry_max_retries,
        backoff=backoff,
        non_idempotent=settings.retry_non_idempotent,
    )


def breaker_by(settings: Settings, service: str) -> CircuitBreaker:
    """Return a circuit breaker for `service`, made from the settings."""
    return CircuitBreaker(
        settings.circuit_breaker_threshold, settings.circuit_breaker_cooldown, service=service
    )


def breakers_by(
    settings: Settings,
    breaker: CircuitBreaker | None,
    key: Callable[[httpx.Request], Hashable] | None,
) -> dict[str, Any]:
    """Return the options of a layer with this breaker, or with one by the settings for each key."""
    if key is None:
        return {"breaker": breaker}
    return {
        "key": key,
        "failure_threshold": settings.circuit_breaker_threshold,
        "cooldown": settings.circuit_breaker_cooldown,
    }
