from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import count
from typing import Any

import httpx
import pytest

from tests.support import URL, post
from walltrack import RetryPolicy
from walltrack.core.statuses import EVERY_STATUS
from walltrack.http.evidence import SendTrace
from walltrack.http.requests import OneShotStream
from walltrack.retry.outgoing import KEY_HEADER, Outgoing

KEYED = RetryPolicy(non_idempotent="keyed")
PROVEN = RetryPolicy(non_idempotent="proven")


async def from_async_generator() -> AsyncIterator[bytes]:
    """A body that an asynchronous client can send, once."""
    yield b"once"


def from_generator() -> Iterator[bytes]:
    """A body of the other kind."""
    yield b"once"


def request_of(method: str, **options: Any) -> httpx.Request:  # noqa: ANN401 - handed on
    """A request with another method."""
    return httpx.Request(method, URL, **options)


def preparing(policy: RetryPolicy = KEYED, *, is_classified: bool = False) -> Outgoing:
    """What prepares requests, with keys that are numbers."""
    numbers = map(str, count(1))
    return Outgoing(policy, lambda: next(numbers), lambda: 0.0, is_classified=is_classified)


def sent(request: httpx.Request, policy: RetryPolicy = KEYED) -> httpx.Request:
    """What goes out for `request`."""
    return preparing(policy).prepare(request)[0]


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK"])
@pytest.mark.parametrize(
    ("policy", "key"),
    [(KEYED, "1"), (PROVEN, None), (RetryPolicy(0, non_idempotent="keyed"), None)],
)
def test_what_may_act_twice_is_traced_and_keyed(
    method: str, policy: RetryPolicy, key: str | None
) -> None:
    """The key where the policy wants one, the trace in any case; the body stays the same."""
    request = request_of(method, content=b"x")
    clone = sent(request, policy)
    assert clone.headers.get(KEY_HEADER) == key
    assert isinstance(clone.extensions["trace"], SendTrace)
    assert clone.stream is request.stream


def test_a_key_of_the_caller_is_kept() -> None:
    """No other key is made."""
    made = Outgoing(KEYED, lambda: pytest.fail("made"), lambda: 0.0, is_classified=False)
    clone, _ = made.prepare(post(headers={"idempotency-key": "mine"}))
    assert clone.headers.get_list(KEY_HEADER) == ["mine"]


def test_the_callers_request_is_left_as_it_was() -> None:
    """Sent again, it is a new call."""
    request = request_of("POST", content=from_async_generator())
    headers, stream = request.headers.copy(), request.stream
    clone = sent(request)
    assert clone is not request
    assert (request.headers, request.extensions, request.stream) == (headers, {}, stream)


@pytest.mark.anyio
async def test_a_trace_of_the_caller_is_chained() -> None:
    """It gets the same steps as without the layer."""
    heard: list[str] = []

    async def mine(name: str, _: Mapping[str, Any]) -> None:
        heard.append(name)

    request = post(extensions={"trace": mine})
    await sent(request).extensions["trace"]("connection.close.started", {})
    assert heard == ["connection.close.started"]
    assert request.extensions == {"trace": mine}


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_body_that_can_be_read_once_is_watched(method: str) -> None:
    """So that it is known whether anybody began to read it."""
    clone = sent(request_of(method, content=from_async_generator()))
    assert isinstance(clone.stream, OneShotStream)
    assert not clone.stream.touched


@pytest.mark.parametrize(
    "body",
    [{"content": b"x"}, {"files": {"f": b"x"}}, {"content": from_generator()}],
    ids=["bytes", "multipart", "of the other kind"],
)
def test_any_other_body_is_left_alone(body: dict[str, Any]) -> None:
    """One that replays needs no watching, one for synchronous clients is not this client's."""
    request = request_of("PUT", **body)
    assert sent(request).stream is request.stream


def test_what_may_be_repeated_is_not_traced() -> None:
    """Where it went does not matter, whatever is done about its body."""
    assert sent(request_of("PUT", content=from_async_generator())).extensions == {}


@pytest.mark.parametrize("method", ["GET", "QUERY", "PROPFIND", "PUT", "MKCOL", "DELETE"])
def test_what_may_be_repeated_is_sent_as_it_is(method: str) -> None:
    """Safe and idempotent methods of the IANA registry need no copy, no key and no trace."""
    request = request_of(method, content=b"x")
    assert sent(request) is request


def test_a_policy_may_know_other_methods() -> None:
    """A GET that acts is treated as one that may act twice, a POST that does not as plain."""
    policy = RetryPolicy(non_idempotent="keyed", idempotent_methods={"post"})
    assert KEY_HEADER in sent(request_of("GET"), policy).headers
    request = post()
    assert sent(request, policy) is request


@pytest.mark.parametrize(
    ("policy", "classified", "status", "suspect"),
    [
        (KEYED, False, 200, False),
        (KEYED, False, 304, False),
        (KEYED, False, 404, True),
        (KEYED, False, 503, True),
        (RetryPolicy(statuses={202, 503}), False, 202, True),
        (RetryPolicy(statuses={202, 503}), False, 404, True),
        (RetryPolicy(statuses={202, 503}), False, 200, False),
        (KEYED, True, 200, True),
    ],
)
def test_which_responses_need_more_than_a_look(
    policy: RetryPolicy, status: int, *, classified: bool, suspect: bool
) -> None:
    """Errors, as they may ask for a retry; what the policy names; with a classifier everything."""
    out = preparing(policy, is_classified=classified)
    assert (status in out.suspects) is suspect
    assert (status in out.prepare(request_of("GET"))[1]) is suspect


def test_every_response_of_a_call_with_a_key_is_looked_at() -> None:
    """The response has to show the key."""
    assert preparing().prepare(post())[1] is EVERY_STATUS
    assert preparing(PROVEN).prepare(post())[1] is not EVERY_STATUS
