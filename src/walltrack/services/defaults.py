"""The parts of a client that the settings give defaults to."""

from collections.abc import Callable, Hashable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import httpx

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.transport import CircuitBreakerTransport
from walltrack.config.settings import Settings
from walltrack.core import validation
from walltrack.core.backoff import Backoff
from walltrack.core.budget import RetryBudget
from walltrack.core.statuses import valid_statuses
from walltrack.layers import Layer
from walltrack.retry.policy import RetryPolicy
from walltrack.retry.transport import RetryTransport

Key = Callable[[httpx.Request], Hashable]


def timeout_by(settings: Settings, timeout: float | httpx.Timeout | None) -> float | httpx.Timeout:
    """Return `timeout`; if it is None, that of the settings.

    Raises:
        TypeError: It is not a number or an `httpx.Timeout`.
        ValueError: It is not above 0.
    """
    if timeout is None:
        return settings.http_timeout
    if not isinstance(timeout, httpx.Timeout):
        validation.positive("timeout", timeout)
    return timeout


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


def sole_breaker(
    settings: Settings, service: str, breaker: CircuitBreaker | None, key: Key | None
) -> CircuitBreaker | None:
    """Return the circuit breaker for all requests to `service`; None if each key has its own.

    Raises:
        TypeError: An argument has another type.
        ValueError: Both `breaker` and `key` are given.
    """
    validation.instance("breaker", breaker, CircuitBreaker | None)
    if key is None:
        return breaker or breaker_by(settings, service)
    validation.function("breaker_key", key)
    if breaker is not None:
        raise ValueError("breaker and breaker_key must not both be given")
    return None


def guarding(
    settings: Settings,
    breaker: CircuitBreaker | None,
    key: Key | None,
    statuses: AbstractSet[int],
    **options: Any,  # noqa: ANN401 - handed on
) -> Layer:
    """Return the layer with `breaker`, or if it is None with one by the settings for each `key`.

    Raises:
        TypeError: `statuses` has another type.
        ValueError: A number in it is not an HTTP status.
    """
    own = {
        "failure_threshold": settings.circuit_breaker_threshold,
        "cooldown": settings.circuit_breaker_cooldown,
        "key": key,
    }
    return partial(
        CircuitBreakerTransport,
        **({"breaker": breaker} if key is None else own),
        statuses=valid_statuses("breaker_statuses", statuses),
        **options,
    )


def retrying(
    settings: Settings,
    policy: RetryPolicy | None,
    budget: RetryBudget | None,
    max_response_bytes: int,
    **options: Any,  # noqa: ANN401 - handed on
) -> Layer:
    """Return the layer with this policy and budget, or with those by the settings.

    Raises:
        TypeError: An argument has another type.
    """
    validation.instance("retry", policy, RetryPolicy | None)
    validation.instance("budget", budget, RetryBudget | None)
    return partial(
        RetryTransport,
        policy=policy or policy_by(settings),
        budget=budget or RetryBudget(),
        max_response_bytes=max_response_bytes,
        **options,
    )
