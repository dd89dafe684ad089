"""Check the README's comparison by running the peers.

Run it with `uv run --group bench python -m tests.benchmarks.comparison`. What a peer does is shown
by a run. What it does not do is shown by a run as well, or its source does not have the word.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx_retries
import hyx.bulkhead
import hyx.circuitbreaker
import hyx.fallback
import hyx.ratelimit
import hyx.retry
import hyx.timeout
import interlock
import purgatory
import stamina
import tenacity
from interlock.integrations.httpx import AsyncCircuitBreakerTransport

from tests.benchmarks.peer_checks import (
    MOMENT,
    Flaky,
    Guard,
    all_of,
    ends_a_call,
    ends_the_retries_alone,
    fails,
    falls_back,
    limits_the_number,
    never,
    obeys_retry_after,
    opens,
    opens_beneath,
    opens_by_rate,
    opens_by_slow_calls,
    otherwise,
    rejects_by_rate,
    retries,
    serves_a_synchronous_client,
    serves_synchronous_code,
    took,
    waits_less_than_told,
)

README = Path(__file__).parents[2] / "README.md"


def by_stamina(**options: Any) -> Guard:  # noqa: ANN401 - as stamina has them
    """Retry at once."""
    stamina.instrumentation.set_on_retry_hooks([])
    at_once = {"wait_initial": 0, "wait_max": 0, "wait_jitter": 0, **options}
    guard: Guard = stamina.retry(on=ConnectionError, **at_once)
    return guard


def by_tenacity(**options: Any) -> Guard:  # noqa: ANN401 - as tenacity has them
    """Retry at once, up to three times."""
    guard: Guard = tenacity.retry(stop=tenacity.stop_after_attempt(4), **options)
    return guard


def by_hyx(function: Any) -> Any:  # noqa: ANN401 - a function of any kind
    """Retry at once, up to three times."""
    return hyx.retry.retry(on=ConnectionError, attempts=3, backoff=0)(function)


def piped(build: Callable[[Any], Any]) -> Guard:
    """Guard with a pipeline of interlock."""
    guard: Guard = build(interlock.Pipeline.builder()).build()
    return guard


def by_breaker_of_hyx(function: Any) -> Any:  # noqa: ANN401 - a function of any kind
    """Guard with a breaker."""
    return hyx.circuitbreaker.consecutive_breaker(exceptions=ConnectionError)(function)


def by_interlock(function: Any) -> Any:  # noqa: ANN401 - a function of any kind
    """Guard with a breaker, which also counts slow calls."""
    config = interlock.Config(
        minimum_number_of_calls=4, slow_call_duration_threshold=MOMENT, slow_call_rate_threshold=0.5
    )
    return interlock.CircuitBreaker(name="peer", config=config)(function)


def by_purgatory(function: Any) -> Any:  # noqa: ANN401 - a function of any kind
    """Guard with a breaker."""
    return purgatory.AsyncCircuitBreakerFactory()("peer")(function)


def by_purgatory_now(function: Any) -> Any:  # noqa: ANN401 - a function of any kind
    """Guard with a breaker, in synchronous code."""
    return purgatory.SyncCircuitBreakerFactory()("peer")(function)


def a_wait(_: object) -> float:
    """Wait two moments, whatever the failure says."""
    return 2 * MOMENT


async def waits_by_hook(guard: Guard) -> bool:
    """Whether code of the caller chooses the wait before each of two retries."""
    return await took(guard(Flaky(2).__call__)) >= 4 * MOMENT


Row = dict[str, tuple[str, Awaitable[bool]]]


def row(*claims: tuple[str, Awaitable[bool]]) -> Row:
    """A row of the table: what it says of each peer, and the check of it."""
    peers = ("httpx-retries", "stamina / tenacity", "interlock-cb", "purgatory", "hyx")
    return dict(zip(peers, claims, strict=True))


def table() -> dict[str, Row]:
    """The rows of the README."""
    limited = by_stamina(timeout=2 * MOMENT, attempts=None)
    by_callback = by_tenacity(retry_error_callback=lambda _: "else")
    no_transport = "AsyncBaseTransport"
    redis, breakers, rates = "redis", "circuit", "rate.?limit|token.?bucket"
    return {
        "goes beneath an httpx client as a transport": row(
            ("yes", obeys_retry_after(httpx_retries.RetryTransport)),
            ("no", all_of(never("stamina", no_transport), never("tenacity", no_transport))),
            ("yes (breaker)", opens_beneath(AsyncCircuitBreakerTransport)),
            ("no", never("purgatory", no_transport)),
            ("no", never("hyx", no_transport)),
        ),
        "retries": row(
            ("yes", obeys_retry_after(httpx_retries.RetryTransport)),
            ("yes", all_of(retries(by_stamina()), retries(by_tenacity()))),
            ("by tenacity", retries(piped(lambda builder: builder.retry(attempts=4)))),
            ("no", never("purgatory", "retry")),
            ("yes", retries(by_hyx)),
        ),
        "`Retry-After` of a response": row(
            ("yes", obeys_retry_after(httpx_retries.RetryTransport)),
            (
                "in your code",
                all_of(
                    waits_by_hook(stamina.retry(on=a_wait)), waits_by_hook(by_tenacity(wait=a_wait))
                ),
            ),
            (
                "in your code",
                waits_by_hook(piped(lambda builder: builder.retry(attempts=4, wait=a_wait))),
            ),
            ("no", never("purgatory", "retry")),
            ("no", never("hyx", "retry.after")),
        ),
        "circuit breaker": row(
            ("no", never("httpx_retries", breakers)),
            ("no", all_of(never("stamina", breakers), never("tenacity", breakers))),
            ("yes", opens(by_interlock)),
            ("yes", opens(by_purgatory)),
            ("yes", opens(by_breaker_of_hyx)),
        ),
        "failure rates and slow calls in a window": row(
            ("no", never("httpx_retries", breakers)),
            ("no", never("stamina", breakers)),
            ("yes", all_of(opens_by_rate(by_interlock), opens_by_slow_calls(by_interlock))),
            ("no", fails(opens_by_rate(by_purgatory))),
            ("no", fails(opens_by_rate(by_breaker_of_hyx))),
        ),
        "limit on the time of a call": row(
            ("its waits only", waits_less_than_told()),
            ("for all retries", ends_the_retries_alone(limited)),
            ("yes", ends_a_call(piped(lambda builder: builder.timeout(MOMENT)))),
            ("no", never("purgatory", "timeout|deadline")),
            ("yes", ends_a_call(hyx.timeout.timeout(MOMENT))),
        ),
        "rate limiting / bulkhead (concurrency limit)": row(
            ("no / no", never("httpx_retries", f"{rates}|bulkhead")),
            ("no / no", all_of(*(never(p, f"{rates}|bulkhead") for p in ("stamina", "tenacity")))),
            (
                "no / yes",
                all_of(
                    never("interlock", rates),
                    limits_the_number(piped(lambda builder: builder.bulkhead(2))),
                ),
            ),
            ("no / no", never("purgatory", f"{rates}|bulkhead")),
            (
                "rejects / yes",
                all_of(
                    rejects_by_rate(hyx.ratelimit.tokenbucket(10, 1, 1)),
                    limits_the_number(hyx.bulkhead.bulkhead(2, 10)),
                ),
            ),
        ),
        "fallback": row(
            ("no", never("httpx_retries", "fallback")),
            ("no / as a callback", all_of(never("stamina", "fallback"), falls_back(by_callback))),
            ("yes", falls_back(piped(lambda builder: builder.fallback(lambda _: "else")))),
            ("no", never("purgatory", "fallback")),
            ("yes", falls_back(hyx.fallback.fallback(otherwise, on=ConnectionError))),
        ),
        "synchronous code": row(
            ("yes", serves_a_synchronous_client()),
            (
                "yes",
                all_of(
                    serves_synchronous_code(by_stamina()), serves_synchronous_code(by_tenacity())
                ),
            ),
            ("yes", serves_synchronous_code(by_interlock)),
            ("yes", serves_synchronous_code(by_purgatory_now)),
            ("no", fails(serves_synchronous_code(by_hyx))),
        ),
        "state shared in Redis": row(
            ("no", never("httpx_retries", redis)),
            ("no", all_of(never("stamina", redis), never("tenacity", redis))),
            ("yes", fails(never("interlock", r"class RedisStorage"))),
            ("yes", fails(never("purgatory", r"class AsyncRedisUnitOfWork"))),
            ("no", never("hyx", redis)),
        ),
        "**any function, not only HTTP**": row(
            ("no", fails(never("httpx_retries", "httpx"))),
            ("yes", retries(by_stamina())),
            ("yes", opens(by_interlock)),
            ("yes", opens(by_purgatory)),
            ("yes", opens(by_breaker_of_hyx)),
        ),
    }


def shown() -> dict[str, dict[str, str]]:
    """The table as the README shows it."""
    section = README.read_text("utf-8").partition("## Comparison\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: dict(zip(header[1:], cells, strict=True)) for name, *cells in rows}


async def main() -> None:
    """Check each claim, and end with an error if one does not hold."""
    readme = shown()
    wrong = 0
    rows = table()
    assert rows.keys() == readme.keys(), "a row has no check"
    for name, claims in rows.items():
        for peer, (claim, check) in claims.items():
            holds = await check
            told = readme[name][peer]
            if not holds or told != claim:
                wrong += 1
                print(f"{name}, {peer}: the README says {told!r}, the check {claim!r}: {holds}")
    print(f"{len(readme)} rows, {wrong} cells that are wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    asyncio.run(main())
