"""What `help`, a debugger and a completion show of the public names."""

import contextlib
import inspect
import pydoc
import re
from typing import Any

import httpx
import pytest

import walltrack
from tests.unit.test_documented_defaults import PUBLIC
from walltrack import (
    BaseAPIClient,
    CircuitBreakerTransport,
    ConcurrencyLimitTransport,
    CountWindow,
    HedgingTransport,
    RateLimitTransport,
    RetryPolicy,
    RetryTransport,
    TimeoutTransport,
    WaitingRoomTransport,
    resilient_transport,
)
from walltrack.core import extensions
from walltrack.testing import FaultTransport

ADDRESS_OR_PATH = re.compile(r"0x[0-9a-f]{4}|\.py\b|[/\\]\w+[/\\]")
LONGEST_PARAMETER = 500  # what takes longer to write than `Event`, the union of all events
LONGEST_SIGNATURE = 2100

NETWORK = httpx.MockTransport(lambda _: httpx.Response(200))
EVERYTHING: dict[str, Any] = {
    "deadline": 30,
    "hedge": "p95",
    "rate_limit": 10,
    "concurrency_limit": "adaptive",
    "attempt_timeout": 5,
}


def signatures() -> dict[str, inspect.Signature]:
    """The signatures of the public classes and functions, but of those that Python gives none."""
    found = {}
    for name, owner in PUBLIC.items():
        with contextlib.suppress(TypeError, ValueError):
            found[name] = inspect.signature(owner)
    return found


def test_the_signatures_are_found() -> None:
    """Those that have none are no callables, an exception without one of its own, and a dict."""
    without = PUBLIC.keys() - signatures().keys()
    assert without == {
        "DEFAULT_RETRY_STATUSES",
        "Event",
        "HTTPOptions",
        "WallTrackError",
        "__version__",
    }


@pytest.mark.parametrize("signature", signatures().values(), ids=signatures())
def test_a_signature_is_short_and_readable(signature: inspect.Signature) -> None:
    """Without an address in memory, a path on a disk, or an option that fills the screen."""
    assert not ADDRESS_OR_PATH.search(str(signature))
    assert len(str(signature)) <= LONGEST_SIGNATURE
    assert max(map(len, map(str, signature.parameters.values())), default=0) <= LONGEST_PARAMETER


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isclass(PUBLIC[name])])
def test_a_constructor_is_described_in_one_place(name: str) -> None:
    """By its class and `__init__`: a docstring of `__new__` would hide their signature."""
    assert getattr(PUBLIC[name].__new__, "__doc__", None) in (None, object.__new__.__doc__)


def test_the_front_page_names_every_key_of_the_extensions() -> None:
    """Those that callers set or read; the other keys are for the layers among themselves."""
    shown = set(re.findall(r"^\| `(walltrack\.\w+)` \|", walltrack.__doc__ or "", re.MULTILINE))
    keys = {value for name, value in vars(extensions).items() if name.isupper()}
    hidden = {extensions.DELIVERY, extensions.GATE, extensions.REPORT}
    hidden |= {extensions.OPEN_CALL, extensions.SHARED_CALL, extensions.WAITS_AT_GATE}
    assert shown == {key for key in keys if key.startswith("walltrack.")} - hidden


def test_the_help_of_a_transport_names_its_defaults() -> None:
    """The functions that it uses unless it is given others, and the policy as it is typed."""
    text = pydoc.plain(pydoc.render_doc(RetryTransport))
    for default in (
        "policy: walltrack.retry.policy.RetryPolicy = RetryPolicy()",
        "= log_event",
        "= time.monotonic",
        "= sleep",
        "= random,",
    ):
        assert default in text
    assert not ADDRESS_OR_PATH.search(text.partition("Args:")[0])


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        (RetryPolicy(), "RetryPolicy()"),
        (RetryPolicy(max_retries=5), "RetryPolicy(max_retries=5)"),
        (
            RetryPolicy(statuses=walltrack.DEFAULT_RETRY_STATUSES.plus(409)),
            "RetryPolicy(statuses=<409, 429, 5xx>)",
        ),
        (RetryPolicy(non_idempotent="never"), "RetryPolicy(non_idempotent='never')"),
    ],
)
def test_a_policy_shows_where_it_differs_from_the_default(policy: RetryPolicy, shown: str) -> None:
    """As it was typed, so that the two numbers that matter are not lost among the others."""
    assert repr(policy) == shown


@pytest.mark.parametrize(
    "made",
    [
        RetryTransport(),
        RetryTransport(NETWORK),
        CircuitBreakerTransport(NETWORK),
        CircuitBreakerTransport(NETWORK, window=CountWindow()),
        ConcurrencyLimitTransport(NETWORK),
        HedgingTransport(NETWORK),
        RateLimitTransport(NETWORK, 10),
        TimeoutTransport(NETWORK, 10),
        WaitingRoomTransport(NETWORK),
        FaultTransport(NETWORK, error_rate=0.1),
        BaseAPIClient("https://api.test"),
        resilient_transport(),
        resilient_transport(NETWORK, **EVERYTHING),
    ],
    ids=lambda made: type(made).__name__,
)
def test_a_repr_is_one_line_without_an_address(made: object) -> None:
    """An inner transport whose repr is an address is shown by its class."""
    assert "\n" not in repr(made)
    assert not ADDRESS_OR_PATH.search(repr(made))


def test_the_standard_stack_is_shown_on_one_line() -> None:
    """From the outside in, each layer with what it was given."""
    assert repr(resilient_transport(NETWORK)) == (
        "RetryTransport(RateLimitTransport(WaitingRoomTransport(CircuitBreakerTransport("
        "MockTransport(), 0 breakers), max_waiting=1000, max_wait=10.0, <0 waiting>)), "
        "policy=RetryPolicy(backoff=Backoff(base=1.0, factor=2.0, cap=4.0, jitter='full'), "
        "statuses=<429, 500, 502-504, 506-599>))"
    )
