"""The remaining time of a call, in a header of each attempt."""

from typing import Any

import anyio
import httpx
import pytest

from tests.support import Clock, Scripted, get
from walltrack import Backoff, RetryPolicy, resilient_transport
from walltrack.simulation import simulate
from walltrack.simulation.stacks import recommended
from walltrack.simulation.standard import HEEDS_DEADLINES

NAME = "x-seconds-left"


def stack(inner: httpx.AsyncBaseTransport, clock: Clock, **options: Any) -> Any:  # noqa: ANN401 - of either family
    """A stack whose retries take two seconds each."""
    retry = RetryPolicy(max_retries=2, backoff=Backoff(base=2, factor=1))
    return resilient_transport(
        inner,
        retry=retry,
        deadline_header=NAME,
        clock=clock,
        sleep=clock.sleep,
        listener=None,
        **options,
    )


@pytest.mark.anyio
async def test_each_attempt_states_what_is_left(clock: Clock) -> None:
    """The waits between attempts are gone by then; the caller's request stays as it was."""
    inner = Scripted(503, 503, 200)
    request = get(extensions={"walltrack.deadline": 10})
    await stack(inner, clock).handle_async_request(request)
    assert [sent.headers[NAME] for sent in inner.requests] == ["10.000", "8.000", "6.000"]
    assert NAME not in request.headers


@pytest.mark.anyio
async def test_a_cancel_scope_counts_too(clock: Clock) -> None:
    """Also that of an attempt timeout: the service need not work for an attempt that is over."""
    inner = Scripted(200, 200)
    with anyio.move_on_after(3):
        await stack(inner, clock).handle_async_request(get())
    await stack(inner, clock, attempt_timeout=2).handle_async_request(get())
    assert [2.0 < float(sent.headers[NAME]) <= 3.0 for sent in inner.requests] == [True, False]
    assert 1.0 < float(inner.requests[1].headers[NAME]) <= 2.0


@pytest.mark.anyio
async def test_without_a_limit_there_is_no_header(clock: Clock) -> None:
    """There is nothing to state; off by default, whatever limits there are."""
    inner = Scripted(200)
    await stack(inner, clock).handle_async_request(get())
    await resilient_transport(inner, deadline=5, listener=None).handle_async_request(get())
    assert [NAME in sent.headers for sent in inner.requests] == [False, False]


@pytest.mark.parametrize(
    ("name", "error"), [(5, TypeError), ("", ValueError), ("x left", ValueError), ("é", ValueError)]
)
def test_what_names_no_header_is_refused(name: Any, error: type[Exception]) -> None:  # noqa: ANN401 - wrong on purpose
    """Where it is given, and not by the first request."""
    with pytest.raises(error, match=r"^deadline_header must be"):
        resilient_transport(Scripted(200), deadline_header=name)


def test_the_repr_names_the_header() -> None:
    """It stands inside the layers that limit time."""
    shown = repr(resilient_transport(Scripted(200), deadline_header=NAME))
    assert "DeadlineHeader(Scripted" in shown
    assert f"name='{NAME}'" in shown


def test_a_service_that_respects_it_serves_more_calls() -> None:
    """In a brownout it drops what comes too late, rather than work for it."""
    announced = "x-deadline-left"

    def stating(inner: httpx.AsyncBaseTransport) -> Any:  # noqa: ANN401 - of either family
        return resilient_transport(inner, deadline=10, deadline_header=announced, listener=None)

    silent, stated = (simulate(s, HEEDS_DEADLINES, seeds=1) for s in (recommended, stating))
    assert stated.success > silent.success + 0.01
