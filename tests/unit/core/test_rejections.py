import copy
import pickle
import tracemalloc
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from tests.unit.core.errors import (
    DUPLICATES,
    FAMILIES,
    REJECTIONS,
    pickled,
    request_with_secrets,
)
from walltrack.core.exceptions import (
    CircuitBreakerOpenError,
    ConcurrencyLimitError,
    PoolTimeoutExceededError,
    RequestRejectedError,
    WaitingRoomTimeoutError,
    WallTrackError,
)


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_a_duplicate_keeps_what_was_noted_later(
    duplicate: Callable[[WallTrackError], WallTrackError],
) -> None:
    """Notes and changed fields of a rejection are kept, not only its arguments."""
    error = CircuitBreakerOpenError("api", 12.25)
    error.add_note("while fetching prices")
    error.retry_after = 3.0

    twin: Any = duplicate(error)

    assert twin.__notes__ == ["while fetching prices"]
    assert twin.retry_after == 3.0


def test_a_copy_can_change_without_the_original() -> None:
    """The copy has its own fields."""
    error = CircuitBreakerOpenError("api", 12.25)

    copy.copy(error).retry_after = 0.0

    assert error.retry_after == 12.25


@pytest.mark.parametrize("home", FAMILIES)
@pytest.mark.parametrize("kind", REJECTIONS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_the_service_of_the_request(
    protocol: int, kind: type[RequestRejectedError], home: ModuleType
) -> None:
    """Also if the name of the service was not read before."""
    error = kind(retry_after=1.0, request=request_with_secrets(home))

    assert pickled(error, protocol).service == "api.test"


def test_a_rejection_knows_its_request() -> None:
    """Code that handles httpx's errors finds `.request` set."""
    request = request_with_secrets()

    assert CircuitBreakerOpenError("api", 1.0, request=request).request is request


@pytest.mark.parametrize("kind", REJECTIONS)
def test_a_rejection_is_no_timeout(kind: type[RequestRejectedError]) -> None:
    """Code that handles timeouts does not catch a request that was never sent."""
    assert not isinstance(kind("api"), httpx.TimeoutException | httpx2.TimeoutException)


@pytest.mark.parametrize(
    "caught_as",
    [
        ConcurrencyLimitError,
        httpx.PoolTimeout,
        httpx.TimeoutException,
        httpx2.PoolTimeout,
        httpx2.TimeoutException,
    ],
)
def test_a_pool_timeout_in_the_queue_is_caught_as(caught_as: type[Exception]) -> None:
    """Code that catches httpx's pool timeout works with a limit, too, in either family."""
    with pytest.raises(caught_as):
        raise PoolTimeoutExceededError("api", waited=2.5)


def test_the_text_of_an_open_circuit_is_made_when_it_is_read() -> None:
    """Raising formats no text: the text is built from the fields when it is read."""
    error = CircuitBreakerOpenError("api", 12.25)

    error.retry_after = 3.0

    assert str(error).endswith("try again in 3.0 s")
    assert error.args == ("api", 12.25)


def test_a_rejection_that_was_handled_frees_its_request_at_once() -> None:
    """A rejection is in no reference cycle that would wait for the garbage collector."""
    request = request_with_secrets()
    seen = weakref.ref(request)
    try:
        raise CircuitBreakerOpenError("api", 1.0, request=request)
    except WallTrackError as error:
        str(error)
    del request

    assert seen() is None


def test_ten_thousand_rejections_leave_memory_flat() -> None:
    """No memory accumulates, however often a call is refused."""

    def refuse(times: int) -> None:
        for _ in range(times):
            try:
                raise CircuitBreakerOpenError("api", 1.0)
            except WallTrackError as error:
                str(error)

    refuse(100)  # whatever is cached once
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        refuse(10_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 10_000


@pytest.mark.parametrize(
    "caught_as", [CircuitBreakerOpenError, httpx.PoolTimeout, httpx2.PoolTimeout]
)
def test_a_pool_timeout_in_the_waiting_room_is_caught_as(caught_as: type[Exception]) -> None:
    """Code that catches an open circuit or httpx's pool timeout keeps working."""
    with pytest.raises(caught_as):
        raise WaitingRoomTimeoutError("api", 1.5)


@pytest.mark.parametrize("kind", REJECTIONS)
def test_a_rejection_without_a_request_can_be_shown(kind: type[RequestRejectedError]) -> None:
    """It still has a name for the service."""
    error = kind()
    assert error.service == "service"
    assert str(error).startswith("service: ")
    assert repr(copy.copy(error)) == repr(error)
