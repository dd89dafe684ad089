import pytest

from walltrack import Backoff, CircuitBreakerOpenError, RetryPolicy, Settings
from walltrack.services.defaults import breaker_by, policy_by

SETTINGS = Settings(
    circuit_breaker_threshold=2,
    circuit_breaker_cooldown=7,
    retry_max_retries=1,
    retry_backoff_base=3.0,
    retry_backoff_cap=5.0,
    retry_non_idempotent="never",
)


def test_a_policy_is_made_by_the_settings() -> None:
    """By their retries and their backoff; all else is as ever."""
    backoff = Backoff(base=3.0, cap=5.0)
    expected = RetryPolicy(max_retries=1, backoff=backoff, non_idempotent="never")
    assert policy_by(SETTINGS) == expected


def test_a_breaker_is_made_by_the_settings() -> None:
    """By their threshold and their cooldown, for the service."""
    breaker = breaker_by(SETTINGS, "things")
    assert (breaker.failure_threshold, breaker.cooldown_seconds) == (2, 7)
    breaker.record_failure()
    breaker.record_failure()
    with pytest.raises(CircuitBreakerOpenError) as raised:
        breaker.raise_if_open()
    assert raised.value.service == "things"
