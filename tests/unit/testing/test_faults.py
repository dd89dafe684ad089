from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.support import Body, Clock, get
from walltrack import Delivery
from walltrack.core import family
from walltrack.core.extensions import DELIVERY
from walltrack.testing import FaultCounts, FaultTransport, ScriptedTransport, VirtualTime

pytestmark = pytest.mark.anyio

URL = "https://api.test/things"
HOMES = pytest.mark.parametrize("home", family.FAMILIES, ids=lambda home: home.__name__)


def well(text: str = "a body of some length") -> ScriptedTransport:
    """A service that always works."""
    return ScriptedTransport([httpx.Response(200, text=text)], repeat_last=True)


async def ask(transport: FaultTransport, home: Any = httpx) -> list[int | str]:  # noqa: ANN401 - a module
    """How a hundred calls end: with a status or an exception's name."""
    ends: list[int | str] = []
    async with home.AsyncClient(transport=transport) as client:
        for _ in range(100):
            try:
                ends.append((await client.get(URL)).status_code)
            except home.TransportError as error:
                ends.append(type(error).__name__)
    return ends


async def test_without_rates_everything_passes() -> None:
    """Without rates no fault is injected or counted."""
    inner = well()
    transport = FaultTransport(inner)
    assert await ask(transport) == [200] * 100
    assert inner.calls == 100
    assert transport.injected == FaultCounts()


@HOMES
async def test_faults_come_at_their_rate_and_are_counted(home: Any) -> None:  # noqa: ANN401 - a module
    """The client gets its family's errors, statuses and cut bodies, as often as counted."""
    transport = FaultTransport(
        well(), error_rate=0.2, status_rate=0.2, statuses=(503, 429), cut_rate=0.2, seed=3
    )
    ends = await ask(transport, home)
    assert set(ends) == {200, 503, 429, "ConnectError", "ReadTimeout", "RemoteProtocolError"}
    injected = transport.injected
    assert injected.errors == ends.count("ConnectError") + ends.count("ReadTimeout")
    assert injected.statuses == ends.count(503) + ends.count(429)
    assert injected.cuts == ends.count("RemoteProtocolError")
    assert injected.total == 100 - ends.count(200)
    assert 40 < injected.total < 80


async def test_the_same_seed_gives_the_same_story() -> None:
    """Timing does not matter: all random numbers are drawn before any wait."""
    options: dict[str, Any] = {"error_rate": 0.3, "status_rate": 0.3, "seed": 11}
    plain = await ask(FaultTransport(well(), **options))
    late = FaultTransport(well(), **options, latency_rate=0.5, latency=9, sleep=Clock().sleep)
    assert await ask(late) == plain
    assert await ask(FaultTransport(well(), **{**options, "seed": 12})) != plain


async def test_requests_under_way_together_meet_their_own_faults() -> None:
    """Faults follow the order in which the requests came, not that of their delays."""

    async def story(latency: float) -> dict[str, int]:
        ends: dict[str, int] = {}
        async with VirtualTime() as time:
            transport = FaultTransport(
                well(),
                status_rate=0.5,
                latency_rate=0.5,
                latency=(0.0, latency),
                seed=5,
                sleep=time.sleep,
            )

            async def call(path: str) -> None:
                response = await transport.handle_async_request(get(f"https://api.test/{path}"))
                ends[path] = response.status_code

            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(call, str(number))
                    await anyio.lowlevel.checkpoint()
        return ends

    assert await story(1.0) == await story(100.0)


async def test_latency_is_waited_for_and_counted() -> None:
    """The given `sleep` waits, and then the request is sent."""
    clock = Clock()
    transport = FaultTransport(well(), latency_rate=1.0, latency=(2, 4), sleep=clock.sleep)
    assert await ask(transport) == [200] * 100
    assert len(clock.sleeps) == transport.injected.latencies == 100
    assert all(2 <= seconds <= 4 for seconds in clock.sleeps)


async def test_a_latency_of_nothing_is_none() -> None:
    """It is neither waited for nor counted."""
    clock = Clock()
    transport = FaultTransport(well(), latency_rate=1.0, latency=0, sleep=clock.sleep)
    await ask(transport)
    assert clock.sleeps == []
    assert transport.injected.latencies == 0


async def test_an_injected_status_does_not_reach_the_service() -> None:
    """The response has an empty body, which is still to be read."""
    inner = well()
    transport = FaultTransport(inner, status_rate=1.0, statuses=[418])
    response = await transport.handle_async_request(get())
    assert response.status_code == 418
    assert not response.is_closed
    assert await response.aread() == b""
    assert inner.calls == 0


@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
async def test_an_error_before_sending_proves_it(kind: type[Exception]) -> None:
    """Nothing is sent, and the request says so to retry layers."""
    inner = well()
    request = get()
    transport = FaultTransport(inner, error_rate=1.0, errors=[kind])
    with pytest.raises(kind, match=f"injected {kind.__name__}"):
        await transport.handle_async_request(request)
    assert request.extensions[DELIVERY] is Delivery.NOT_SENT
    assert inner.calls == 0


@pytest.mark.parametrize("kind", [httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError])
async def test_an_error_after_sending_loses_the_answer(kind: type[Exception]) -> None:
    """The service acted, its response is closed, and the request is not marked as not sent."""
    body = Body(b"acted")
    inner = ScriptedTransport([httpx.Response(200, stream=body)])
    request = get()
    transport = FaultTransport(inner, error_rate=1.0, errors=[kind])
    with pytest.raises(kind):
        await transport.handle_async_request(request)
    assert inner.calls == 1
    assert body.closes == 1
    assert body.read == 0
    assert DELIVERY not in request.extensions


@pytest.mark.parametrize("kind", [httpx.WriteError, OSError])
async def test_any_other_error_is_raised_instead_of_sending(kind: type[Exception]) -> None:
    """The request is not marked as sent or not sent."""
    inner = well()
    request = get()
    with pytest.raises(kind):
        await FaultTransport(inner, error_rate=1.0, errors=[kind]).handle_async_request(request)
    assert inner.calls == 0
    assert DELIVERY not in request.extensions


async def test_an_error_of_the_service_itself_comes_first() -> None:
    """An answer that never came cannot be lost: nothing was injected."""
    transport = FaultTransport(
        ScriptedTransport([httpx.ConnectError]), error_rate=1.0, errors=[httpx.ReadTimeout]
    )
    with pytest.raises(httpx.ConnectError, match="scripted"):
        await transport.handle_async_request(get())
    assert transport.injected.total == 0


async def test_a_lost_answer_is_closed_whatever_happens() -> None:
    """It is closed despite a cancellation or a failure to close."""
    closed: list[bool] = []

    class Slow(Body):
        async def aclose(self) -> None:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
            closed.append(True)
            raise OSError("will not close")

    inner = ScriptedTransport([httpx.Response(200, stream=Slow())])
    transport = FaultTransport(inner, error_rate=1.0, errors=[httpx.ReadTimeout])
    with anyio.CancelScope() as scope:
        with pytest.raises(httpx.ReadTimeout):
            await transport.handle_async_request(get())
        await anyio.lowlevel.checkpoint()
    assert closed == [True]
    assert scope.cancelled_caught


@HOMES
async def test_a_cut_body_breaks_off_in_its_middle(home: Any) -> None:  # noqa: ANN401 - a module
    """The reader gets a part, then an error of its own family; the body beneath is closed."""
    body = Body(*[b"x" * 10] * 10)
    response = httpx.Response(200, headers={"content-length": "100"}, stream=body)
    transport = FaultTransport(ScriptedTransport([response]), cut_rate=1.0, seed=1)
    got: list[bytes] = []

    async def read(answer: httpx.Response) -> None:
        async for chunk in answer.aiter_bytes():
            got.append(chunk)  # noqa: PERF401 - they must not be lost with the exception

    async with home.AsyncClient(transport=transport) as client, client.stream("GET", URL) as answer:
        with pytest.raises(home.RemoteProtocolError, match="injected") as caught:
            await read(answer)
        assert transport.injected.cuts == 1
        assert body.closes == 1
    assert caught.value.request is answer.request
    assert 0 < len(b"".join(got)) < 100


async def test_a_cut_counts_when_it_is_met() -> None:
    """A body that is closed before its cut is not counted."""
    body = Body(b"x" * 100)
    response = httpx.Response(200, headers={"content-length": "100"}, stream=body)
    transport = FaultTransport(ScriptedTransport([response]), cut_rate=1.0)
    answer = await transport.handle_async_request(get())
    await answer.aclose()
    assert transport.injected.cuts == 0
    assert body.closes == 1


async def test_a_body_of_unknown_length_is_cut_as_well() -> None:
    """After some thousand bytes at the latest."""
    body = Body(*[b"x" * 1024] * 1000)
    inner = ScriptedTransport([httpx.Response(200, stream=body)])
    answer = await FaultTransport(inner, cut_rate=1.0).handle_async_request(get())
    with pytest.raises(httpx.RemoteProtocolError):
        await answer.aread()
    assert body.read <= 9 * 1024
    assert body.closes == 1


async def test_a_body_in_memory_can_be_cut() -> None:
    """A mock's response that is already read becomes one that is still to be read."""
    mock = httpx.MockTransport(lambda _: httpx.Response(200, json={"a": "body"}))
    transport = FaultTransport(mock, cut_rate=1.0)
    assert set(await ask(transport)) == {"RemoteProtocolError"}
    assert transport.injected.cuts == 100


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", lambda: httpx.Response(200)),
        ("GET", lambda: httpx.Response(204, headers={"content-length": "0"}, stream=Body())),
        ("GET", lambda: httpx.Response(101, stream=Body(b"not HTTP"))),
        ("HEAD", lambda: httpx.Response(200, headers={"content-length": "9"}, stream=Body())),
    ],
)
async def test_what_has_no_body_is_not_cut(
    method: str, answer: Callable[[], httpx.Response]
) -> None:
    """An empty response has nothing to cut."""
    response = answer()
    transport = FaultTransport(httpx.MockTransport(lambda _: response), cut_rate=1.0)
    assert await transport.handle_async_request(httpx.Request(method, URL)) is response
    await response.aread()
    assert transport.injected.cuts == 0


async def test_only_some_requests_are_harmed() -> None:
    """Other requests pass unchanged, and use up no faults of the plan."""
    options: dict[str, Any] = {"status_rate": 0.5, "seed": 2}
    transport = FaultTransport(well(), only=lambda r: r.method == "POST", **options)
    ends = []
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(100):
            assert (await client.get(URL)).status_code == 200
            ends.append((await client.post(URL)).status_code)
    assert ends == await ask(FaultTransport(well(), **options))


async def test_it_can_be_switched_off_and_on() -> None:
    """Requests that pass while it is off use up no faults of the plan."""
    transport = FaultTransport(well(), status_rate=0.5, seed=2)
    whole = await ask(FaultTransport(well(), status_rate=0.5, seed=2))
    begin = await ask(transport)
    transport.enabled = False
    assert await ask(transport) == [200] * 100
    transport.enabled = True
    assert begin == whole
    assert set(await ask(transport)) == {200, 503}


async def test_a_caller_that_is_held_up_can_be_cancelled() -> None:
    """A call that is cancelled during its latency is not sent."""
    inner = well()
    transport = FaultTransport(inner, latency_rate=1.0, latency=60.0)
    with anyio.move_on_after(0.01) as scope:
        await transport.handle_async_request(get())
    assert scope.cancelled_caught
    assert inner.calls == 0


async def test_it_opens_and_closes_what_is_inside() -> None:
    """The inner transport is entered and closed, as by every layer."""
    closed = []

    class Inner(httpx.AsyncBaseTransport):
        async def aclose(self) -> None:
            closed.append(True)

    async with httpx.AsyncClient(transport=FaultTransport(Inner())):
        pass
    assert closed == [True]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"error_rate": 2}, ValueError, "error_rate must be at most 1"),
        ({"errors": [httpx.HTTPStatusError]}, TypeError, "errors must be an exception: HTTPStatus"),
        ({"only": "POST"}, TypeError, "only must be a function"),
        ({"sleep": 1.0}, TypeError, "sleep must be a function"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=text):
        FaultTransport(**options)


def test_repr_tells_what_it_does() -> None:
    """It shows the rates, the seed, and whether it is switched off."""
    transport = FaultTransport(ScriptedTransport([]), error_rate=0.1, latency_rate=0.5, seed=7)
    inner = "ScriptedTransport(0 calls, 0 of 0 left)"
    assert repr(transport) == (f"FaultTransport({inner}, error_rate=0.1, latency_rate=0.5, seed=7)")
    transport.enabled = False
    assert repr(transport).endswith("seed=7, not enabled)")
    assert repr(FaultTransport(ScriptedTransport([]))) == f"FaultTransport({inner})"
