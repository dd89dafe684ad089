import copy
import pickle
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from tests.unit.core.errors import (
    DUPLICATES,
    ERRORS,
    FAMILIES,
    SECRET,
    Make,
    by_a_transport,
    pickled,
    request_with_secrets,
)
from walltrack.core.exceptions import (
    ExternalServiceError,
    WallTrackError,
)


@pytest.mark.parametrize("duplicate", DUPLICATES)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_duplicate_keeps_every_field(
    duplicate: Callable[[WallTrackError], WallTrackError], error: WallTrackError
) -> None:
    """Copied, deeply copied or pickled by any protocol, an error keeps all its fields."""
    twin = duplicate(error)

    assert twin is not error
    assert type(twin) is type(error)
    assert twin.args == error.args
    assert vars(twin) == vars(error)
    assert (str(twin), repr(twin)) == (str(error), repr(error))


@by_a_transport
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copied_error_keeps_the_request_itself(
    duplicate: Callable[[Any], httpx.TransportError], make: Make
) -> None:
    """A copy of an error that a transport raised has the same request object."""
    request = request_with_secrets()

    assert duplicate(make("api", request=request)).request is request


@pytest.mark.parametrize("suppressed", [True, False])
def test_a_copy_keeps_the_chain(suppressed: bool) -> None:  # noqa: FBT001 - one of two cases
    """A copy keeps the cause, the context, and whether the context is shown."""
    error = ExternalServiceError("api", "GET /a failed")
    error.__cause__, error.__context__ = httpx.ReadTimeout("slow"), KeyError("k")
    error.__suppress_context__ = suppressed

    twin = copy.copy(error)

    assert twin.__cause__ is error.__cause__
    assert twin.__context__ is error.__context__
    assert twin.__suppress_context__ is suppressed


@by_a_transport
@pytest.mark.parametrize("home", FAMILIES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_leaves_out_the_request(protocol: int, home: ModuleType, make: Make) -> None:
    """A pickle contains neither the request nor any secret of the request."""
    error = make("api", request=request_with_secrets(home))

    assert SECRET.encode() not in pickle.dumps(error, protocol)
    twin = pickled(error, protocol)
    assert str(twin) == str(error)
    with pytest.raises(RuntimeError, match="request property has not been set"):
        _ = twin.request


@by_a_transport
@pytest.mark.parametrize("home", FAMILIES)
def test_no_text_of_an_error_shows_the_request(home: ModuleType, make: Make) -> None:
    """Text, repr and arguments hold no userinfo, query, header or body of the request."""
    error = make("api.test", request=request_with_secrets(home))

    assert SECRET not in f"{error} {error!r} {error.args}"


@by_a_transport
@pytest.mark.parametrize(
    "caught_as",
    [
        httpx.TransportError,
        httpx.RequestError,
        httpx.HTTPError,
        httpx2.TransportError,
        httpx2.RequestError,
        httpx2.HTTPError,
        WallTrackError,
    ],
)
def test_what_a_transport_raises_is_caught_as(caught_as: type[Exception], make: Make) -> None:
    """It is caught by code for httpx, for httpx2 and for this library."""
    with pytest.raises(caught_as):
        raise make("api")
