import asyncio
import random
from collections import Counter

import httpx
import pytest

from walltrack.core.delivery import Delivery
from walltrack.core.extensions import DELIVERY
from walltrack.simulation.clock import run_virtually
from walltrack.simulation.observation import Observation
from walltrack.simulation.replay import ReplayTransport

RECORD = (
    Observation(0.0, 200, 0.5),
    Observation(10.0, "ConnectError", 0.1),
    Observation(20.0, "ReadTimeout", 60.0),
    Observation(30.0, "ConnectTimeout", 60.0),
    Observation(40.0, 503, 0.2),
)


@pytest.mark.parametrize(
    ("at", "outcome", "ends", "delivery"),
    [
        (0.0, 200, 0.5, None),
        (10.5, "ConnectError", 10.6, Delivery.NOT_SENT),
        (20.0, "ReadTimeout", 25.0, None),
        (30.0, "ConnectTimeout", 33.0, Delivery.NOT_SENT),
        (35.0, 503, 35.2, None),
    ],
)
def test_a_request_fares_as_one_of_its_time(
    at: float, outcome: int | str, ends: float, delivery: Delivery | None
) -> None:
    """It ends as that one did, as late, but no later than its own timeout."""
    request = httpx.Request(
        "GET", "http://api.test/", extensions={"timeout": {"connect": 3.0, "read": 5.0}}
    )
    counts: Counter[int] = Counter()

    async def main() -> tuple[int | str, float]:
        transport = ReplayTransport(RECORD, random.Random(1), counts)  # noqa: S311 - a model
        loop = asyncio.get_running_loop()
        await asyncio.sleep(at)
        try:
            response = await transport.handle_async_request(request)
        except httpx.TransportError as error:
            return type(error).__name__, loop.time()
        return response.status_code, loop.time()

    ended, moment = run_virtually(main)
    assert ended == outcome
    assert moment == pytest.approx(ends)
    assert request.extensions.get(DELIVERY) == delivery
    assert counts == {int(at): 1}
