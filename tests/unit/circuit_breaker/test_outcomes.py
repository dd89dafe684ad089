from collections.abc import Callable

import anyio.lowlevel
import httpx
import pytest

from tests.fleet.fake_store import FakeStore
from tests.support import Body, Clock, Scripted, get
from walltrack import CircuitBreakerTransport, Classification, Outcome
from walltrack.core.shared_state import SharedCircuitState

pytestmark = pytest.mark.anyio

NAME = "https://api.test"

Answer = Callable[[], httpx.Response]


def broken() -> httpx.Response:
    """A response whose body breaks off while the classifier waits for it."""
    return httpx.Response(400, stream=Body(httpx.ReadError("broken")))


def refused(_: Outcome) -> Classification:
    """Any response is a failure."""
    return Classification(failure=True)


@pytest.mark.parametrize("answer", [broken, lambda: httpx.Response(418)])
async def test_what_a_classifier_decides_is_reported_to_the_fleet(
    clock: Clock, answer: Answer
) -> None:
    """As with any other failure, also if its body broke off before the decision."""
    store = FakeStore(clock)
    transport = CircuitBreakerTransport(
        Scripted(*[answer() for _ in range(2)]),
        failure_threshold=2,
        classify=refused,
        clock=clock,
        shared=store,
        listener=None,
    )
    for _ in range(2):
        try:
            await transport.handle_async_request(get())
        except httpx.ReadError:
            await anyio.lowlevel.checkpoint()
    assert store.circuits[NAME].state is SharedCircuitState.OPEN
    assert store.circuits[NAME].failures == 2
