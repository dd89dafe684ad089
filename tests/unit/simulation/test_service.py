import asyncio
import functools
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from walltrack.core.delivery import Delivery
from walltrack.core.extensions import DELIVERY
from walltrack.simulation.clock import run_virtually
from walltrack.simulation.faults import Fault
from walltrack.simulation.observation import Observation
from walltrack.simulation.scenario import Latency, Quota, Scenario, Service
from walltrack.simulation.service import ROUND_TRIP, SimulatedService

EXACT = Service(latency=Latency(minimum=1.0, tail=0.0))
TIMEOUT = {"connect": 3.0, "read": 5.0}


def service_of(*faults: Fault, service: Service = EXACT, **more: Any) -> SimulatedService:  # noqa: ANN401 - any field
    """A service in which these faults happen."""
    scenario = Scenario(name="x", seconds=100.0, service=service, faults=faults, **more)
    return SimulatedService(scenario, random.Random(1), asyncio.get_running_loop())  # noqa: S311 - a model


def request(host: str = "api.test", **headers: str) -> httpx.Request:
    """A request with httpx's timeouts."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Request(
        "GET", f"http://{host}/", headers=names, extensions={"timeout": dict(TIMEOUT)}
    )


async def outcome(send: Callable[[], Any]) -> tuple[int | str, float]:
    """The status or the exception that a request ends with, and when."""
    loop = asyncio.get_running_loop()
    try:
        response = await send()
        await response.aread()
    except httpx.TransportError as error:
        return type(error).__name__, loop.time()
    return response.status_code, loop.time()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (None, (200, 1.0)),
        (Fault(kind="refuse"), ("ConnectError", ROUND_TRIP)),
        (Fault(kind="blackhole"), ("ConnectTimeout", 3.0)),
        (Fault(kind="reset"), ("ReadError", ROUND_TRIP)),
        (Fault(kind="status", status=502), (502, ROUND_TRIP)),
        (Fault(kind="error", status=500), (500, 1.0)),
        (Fault(kind="lost"), ("ReadError", 1.0)),
        (Fault(kind="cut"), ("RemoteProtocolError", 1.0)),
        (Fault(kind="slow", factor=4.0), (200, 4.0)),
        (Fault(kind="slow", factor=6.0), ("ReadTimeout", 5.0)),
        (Fault(kind="late", factor=4.0), (200, 4.0)),
        (Fault(kind="late", factor=6.0), ("ReadTimeout", 5.0)),
    ],
)
def test_a_request_ends_as_the_fault_has_it(
    fault: Fault | None, expected: tuple[int | str, float]
) -> None:
    """It ends with the status or exception and at the time of a real service."""

    async def main() -> tuple[int | str, float]:
        transport = service_of(*([fault] if fault else [])).transport()
        return await outcome(lambda: transport.handle_async_request(request()))

    assert run_virtually(main) == expected


def test_a_body_that_drips_never_ends() -> None:
    """The headers and each byte arrive in time, but the body never ends."""

    async def main() -> int:
        transport = service_of(Fault(kind="drip")).transport()
        response = await transport.handle_async_request(request())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1000.0):
                await response.aread()
        return response.status_code

    assert run_virtually(main) == 200


@pytest.mark.parametrize(
    ("kind", "stated"),
    [("refuse", Delivery.NOT_SENT), ("blackhole", Delivery.NOT_SENT), ("reset", None)],
)
def test_what_was_not_sent_is_stated(kind: Any, stated: Delivery | None) -> None:  # noqa: ANN401 - a kind
    """Retry layers learn that nothing was sent, as from a real connection."""

    async def main() -> object:
        transport, sent = service_of(Fault(kind=kind)).transport(), request()
        await outcome(lambda: transport.handle_async_request(sent))
        return sent.extensions.get(DELIVERY)

    assert run_virtually(main) == stated


def test_without_timeouts_nothing_times_out() -> None:
    """A request that was made without a client has no timeouts."""

    async def main() -> tuple[int | str, float]:
        transport = service_of(Fault(kind="slow", factor=500.0)).transport()
        plain = httpx.Request("GET", "http://api.test/")
        return await outcome(lambda: transport.handle_async_request(plain))

    assert run_virtually(main) == (200, 500.0)


def test_an_unknown_host_cannot_be_reached() -> None:
    """Only the hosts of the scenario are simulated."""

    async def main() -> tuple[int | str, float]:
        transport = service_of().transport()
        return await outcome(lambda: transport.handle_async_request(request("other.test")))

    assert run_virtually(main) == ("ConnectError", 0.0)


def test_a_full_queue_is_503_at_once() -> None:
    """One request is in work, one waits, and the third is rejected."""

    async def main() -> list[tuple[int | str, float]]:
        small = Service(workers=1, queue=1, latency=EXACT.latency)
        transport = service_of(service=small).transport()
        send = [outcome(lambda: transport.handle_async_request(request())) for _ in range(3)]
        return await asyncio.gather(*send)

    assert run_virtually(main) == [(200, 1.0), (200, 2.0), (503, ROUND_TRIP)]


@pytest.mark.parametrize(("per_client", "accepted"), [(False, 2), (True, 4)])
def test_a_quota_is_shared_or_for_each_client(accepted: int, *, per_client: bool) -> None:
    """A request over the quota gets a 429 with a Retry-After."""

    async def main() -> list[int]:
        quota = Quota(rate=1.0, burst=2, per_client=per_client, retry_after=3)
        limited = service_of(service=Service(quota=quota))
        clients = limited.transport(), limited.transport()
        responses = [await c.handle_async_request(request()) for c in clients for _ in range(3)]
        rejected = [r for r in responses if r.status_code == 429]
        assert all(response.headers["retry-after"] == "3" for response in rejected)
        return [response.status_code for response in responses]

    assert run_virtually(main).count(200) == accepted


def test_a_service_that_heeds_deadlines_skips_what_comes_too_late() -> None:
    """A header states how long the client waits; after that the answer is 504, without work."""

    async def main() -> tuple[list[tuple[int | str, float]], int]:
        heeding = Service(workers=1, latency=EXACT.latency, deadline_header="x-left")
        service = service_of(service=heeding)
        transport = service.transport()
        requests = [request(), request(x_left="0.5"), request(x_left="5")]
        sent = [
            outcome(functools.partial(transport.handle_async_request, each)) for each in requests
        ]
        return await asyncio.gather(*sent), service.done

    assert run_virtually(main) == ([(200, 1.0), (504, 1.0), (200, 2.0)], 2)


def test_the_work_for_a_caller_that_is_gone_is_wasted() -> None:
    """The service works on cancelled and timed out requests, too."""

    async def main() -> tuple[int, int]:
        service = service_of(Fault(kind="slow", factor=6.0))
        transport = service.transport()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await transport.handle_async_request(request())
        assert await outcome(lambda: transport.handle_async_request(request())) == (
            "ReadTimeout",
            6.0,
        )
        await asyncio.sleep(10.0)
        return service.done, service.wasted

    assert run_virtually(main) == (2, 2)


def test_requests_are_spread_over_backends_and_counted_by_second() -> None:
    """Each backend gets its share."""

    async def main() -> tuple[list[int], dict[int, int]]:
        service = service_of(service=Service(backends=4, workers=1000))
        transport = service.transport()
        for _ in range(400):
            asyncio.get_running_loop().create_task(transport.handle_async_request(request()))
            await asyncio.sleep(0.01)
        await asyncio.sleep(10.0)
        return [b.done for b in service.backends["api.test"]], service.requests

    done, requests = run_virtually(main)
    assert sum(done) == 400
    assert min(done) > 70
    assert sum(requests.values()) == 400
    assert set(requests) == {0, 1, 2, 3, 4} or set(requests) == {0, 1, 2, 3}


def test_a_recorded_service_is_replayed() -> None:
    """Its recorded responses replace a simulated service."""

    async def main() -> tuple[int | str, float]:
        service = service_of(record=(Observation(0.0, 418, 2.0),))
        transport = service.transport()
        result = await outcome(lambda: transport.handle_async_request(request()))
        assert service.requests == {0: 1}
        return result

    assert run_virtually(main) == (418, 2.0)
