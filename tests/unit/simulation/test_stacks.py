import asyncio

import httpx
import pytest

from walltrack import resilient_transport
from walltrack.simulation.clock import run_virtually
from walltrack.simulation.stacks import STANDARD_STACKS, bare, naive, recommended
from walltrack.testing import ScriptedTransport

REQUEST = httpx.Request("GET", "http://api.test/")


def test_bare_httpx_is_left_as_it_is() -> None:
    """It puts no layer between the client and its transport."""
    inner = ScriptedTransport([200])
    assert bare(inner) is inner


def test_the_recommended_stack_has_its_defaults() -> None:
    """It is what a user gets without any options."""
    inner = ScriptedTransport([200])
    assert repr(recommended(inner)) == repr(resilient_transport(inner))
    assert list(STANDARD_STACKS) == ["bare httpx", "naive retry loop", "resilient_transport()"]


@pytest.mark.parametrize(
    ("script", "status", "seconds"),
    [
        ([200], 200, 0.0),
        ([404], 404, 0.0),
        ([503, 200], 200, 1.0),
        ([429, 500, 200], 200, 3.0),
        ([httpx.ConnectError, 503, 503, 201], 201, 7.0),
        ([503, 503, 503, 502], 502, 7.0),
    ],
)
def test_the_naive_loop_tries_four_times(
    script: list[int | type[Exception]], status: int, seconds: float
) -> None:
    """It waits 1, 2 and 4 s, and then returns the last response."""

    async def main() -> tuple[int, float]:
        transport = naive(ScriptedTransport(script))
        response = await transport.handle_async_request(REQUEST)
        return response.status_code, asyncio.get_running_loop().time()

    assert run_virtually(main) == (status, seconds)


def test_the_naive_loop_raises_what_the_last_attempt_does() -> None:
    """An exception that is no transport error ends it at once."""

    async def main(*script: type[Exception]) -> None:
        await naive(ScriptedTransport(list(script))).handle_async_request(REQUEST)

    with pytest.raises(httpx.ReadTimeout):
        run_virtually(lambda: main(*[httpx.ConnectError] * 3, httpx.ReadTimeout))
    with pytest.raises(ZeroDivisionError):
        run_virtually(lambda: main(ZeroDivisionError))
