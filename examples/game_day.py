"""A game day: what a bad day of the network does to a client, without walltrack and with it.

Run it with `uv run examples/game_day.py`. The faults come by a seed and the time is virtual: an
hour passes in a second, and the report is the same each time. In a real system, a
`FaultTransport()` sends over the network and adds faults; set `enabled` to False to stop them.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import httpx

from walltrack import CircuitBreaker, CircuitBreakerTransport, RetryTransport
from walltrack.testing import FaultTransport, ScriptedTransport, VirtualTime

CALLS = 400
CALLERS = 8

Wrap = Callable[[httpx.AsyncBaseTransport, VirtualTime], httpx.AsyncBaseTransport]


def bare(inner: httpx.AsyncBaseTransport, _: VirtualTime) -> httpx.AsyncBaseTransport:
    """Plain httpx."""
    return inner


def layered(inner: httpx.AsyncBaseTransport, time: VirtualTime) -> httpx.AsyncBaseTransport:
    """The same with two layers; the listener is off because the report is all there is to see."""
    breaker = CircuitBreaker(failure_threshold=10, cooldown=30, clock=time.monotonic)
    guarded = CircuitBreakerTransport(inner, breaker=breaker, listener=None)
    return RetryTransport(guarded, sleep=time.sleep, wall_clock=time.time, listener=None)


def healthy_service() -> ScriptedTransport:
    """A service that answers every call."""
    return ScriptedTransport([httpx.Response(200, json={"price": 71.25})], repeat_last=True)


async def bad_day(wrap: Wrap) -> float:
    """The share of calls that are answered on a day on which one in ten goes wrong."""
    async with VirtualTime() as time:
        faults = FaultTransport(
            healthy_service(),
            error_rate=0.05,
            status_rate=0.03,
            statuses=(500, 502, 503),
            cut_rate=0.02,
            latency_rate=0.2,
            latency=(0.1, 3.0),
            seed=7,
            sleep=time.sleep,
        )
        ends: Counter[bool] = Counter()
        async with httpx.AsyncClient(transport=wrap(faults, time)) as client:

            async def caller() -> None:
                for _ in range(CALLS // CALLERS):
                    ends[await is_answered(client)] += 1

            await asyncio.gather(*(caller() for _ in range(CALLERS)))
        seconds = time.monotonic()
    answered = ends[True] / CALLS
    print(f"{wrap.__name__:>8} │ {answered:7.1%} of {CALLS} calls answered in {seconds:.0f} s,")
    print(f"{'':>8} │ {faults.injected}")
    return answered


async def outage(wrap: Wrap) -> tuple[int, float]:
    """How often a dead service is asked in an hour, and how long it takes to see it back."""
    async with VirtualTime() as time:
        faults = FaultTransport(healthy_service(), status_rate=1.0, seed=7, sleep=time.sleep)
        async with httpx.AsyncClient(transport=wrap(faults, time)) as client:
            while time.monotonic() < 3600:
                assert not await is_answered(client)
                await time.sleep(5)
            faults.enabled = False
            back = time.monotonic()
            while not await is_answered(client):
                await time.sleep(5)
            seconds = time.monotonic() - back
    asked = faults.injected.statuses
    print(
        f"{wrap.__name__:>8} │ asked {asked} times in an hour of outage, back after {seconds:.0f} s"
    )
    return asked, seconds


async def is_answered(client: httpx.AsyncClient) -> bool:
    """Whether one call ends well."""
    try:
        return (await client.get("https://api.example.com/price")).is_success
    except httpx.TransportError:
        return False


async def main() -> None:
    """Try both clients on both days, and hold what is claimed of them."""
    print("A bad day")
    assert await bad_day(bare) < 0.92
    assert await bad_day(layered) > 0.99
    print("An outage of an hour")
    asked, _ = await outage(bare)
    asked_by_layers, seconds = await outage(layered)
    assert asked_by_layers < asked / 4
    assert seconds <= 30
    print("The layers held what they promise.")


if __name__ == "__main__":
    asyncio.run(main())
