from typing import Any

import httpx
import pytest

from tests.support import Scripted
from walltrack import (
    Backoff,
    CircuitBreaker,
    CircuitBreakerOpenError,
    RetryBudget,
    RetryPolicy,
    Settings,
)
from walltrack.services.defaults import (
    breaker_by,
    guarding,
    policy_by,
    retrying,
    sole_breaker,
    timeout_by,
)

SETTINGS = Settings(
    circuit_breaker_threshold=2,
    circuit_breaker_cooldown=7,
    retry_max_retries=1,
    retry_backoff_base=3.0,
    retry_backoff_cap=5.0,
    retry_non_idempotent="never",
)


def test_a_policy_is_made_by_the_settings() -> None:
    """Settings give the retries and the backoff; everything else is the default."""
    backoff = Backoff(base=3.0, cap=5.0)
    expected = RetryPolicy(max_retries=1, backoff=backoff, non_idempotent="never")
    assert policy_by(SETTINGS) == expected


def test_a_breaker_is_made_by_the_settings() -> None:
    """Settings give its threshold and its cooldown."""
    breaker = breaker_by(SETTINGS, "things")
    assert (breaker.failure_threshold, breaker.cooldown_seconds) == (2, 7)
    breaker.record_failure()
    breaker.record_failure()
    with pytest.raises(CircuitBreakerOpenError) as raised:
        breaker.raise_if_open()
    assert raised.value.service == "things"


def test_what_is_given_goes_before_the_settings() -> None:
    """A breaker, a timeout, a policy; with a key there is no breaker for all requests."""
    breaker = CircuitBreaker()
    assert sole_breaker(SETTINGS, "things", breaker, None) is breaker
    assert sole_breaker(SETTINGS, "things", None, hash) is None
    assert timeout_by(SETTINGS, None) == SETTINGS.http_timeout
    timeout = httpx.Timeout(1)
    assert (timeout_by(SETTINGS, timeout), timeout_by(SETTINGS, 3)) == (timeout, 3)
    layer = retrying(SETTINGS, RetryPolicy(max_retries=7), None, 1)
    assert "RetryPolicy(max_retries=7)" in repr(layer(Scripted(200)))
    assert "RetryPolicy(max_retries=1" in repr(retrying(SETTINGS, None, None, 1)(Scripted(200)))
    retries: Any = retrying(SETTINGS, None, None, 1)
    assert isinstance(retries.keywords["budget"], RetryBudget)
    assert "breaker=" in repr(guarding(SETTINGS, breaker, None, {500})(Scripted(200)))
    assert "0 breakers" in repr(guarding(SETTINGS, None, hash, {500})(Scripted(200)))
