"""How many calls survive outages: this library and its peers in all standard scenarios.

Run it with `uv run --group bench python -m tests.benchmarks.outages`. Each peer has its defaults,
or the example of its documentation; another configuration would give other figures.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import httpx_retries
import hyx.circuitbreaker
import hyx.retry
import purgatory
import stamina
import tenacity
from interlock import CircuitOpenError
from interlock.integrations.httpx import AsyncCircuitBreakerTransport
from interlock.integrations.tenacity import retry_unless_open, wait_probe

from tests.benchmarks.contenders import Around, Handler
from walltrack import CircuitBreakerTransport, RetryTransport
from walltrack.simulation import STANDARD, Report, Scenario, sweep
from walltrack.simulation.console import output, overview, progress_bar, table_of
from walltrack.simulation.stacks import STANDARD_STACKS

Transport = httpx.AsyncBaseTransport

BAD = frozenset({429, 500, 502, 503, 504})


def raising(inner: Transport) -> Handler:
    """What a function does that asks for a status to be raised, as the peers' examples do."""

    async def handle(request: httpx.Request) -> httpx.Response:
        response = await inner.handle_async_request(request)
        if response.is_error:
            await response.aread()
            raise httpx.HTTPStatusError(
                f"status {response.status_code}", request=request, response=response
            )
        return response

    return handle


def retry_transport(inner: Transport) -> Transport:
    """Our retries by themselves, with the defaults of the class."""
    return RetryTransport(inner, listener=None)


def pair(inner: Transport) -> Transport:
    """Our retries around our breakers, with the defaults of the classes."""
    return RetryTransport(CircuitBreakerTransport(inner, listener=None), listener=None)


def httpx_retries_default(inner: Transport) -> Transport:
    """httpx-retries with its defaults: 10 retries at once."""
    transport: Transport = httpx_retries.RetryTransport(inner)
    return transport


def httpx_retries_example(inner: Transport) -> Transport:
    """httpx-retries as its README shows it."""
    policy = httpx_retries.Retry(total=5, backoff_factor=0.5)
    transport: Transport = httpx_retries.RetryTransport(inner, policy)
    return transport


class _BadAnswerError(Exception):
    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def purgatory_breaker(inner: Transport) -> Transport:
    """Purgatory's breaker for each host; it counts exceptions, so that a bad status is one."""
    factory = purgatory.AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=30)

    async def handle(request: httpx.Request) -> httpx.Response:
        try:
            async with await factory.get_breaker(request.url.host):
                response = await inner.handle_async_request(request)
                if response.status_code in BAD:
                    raise _BadAnswerError(response)
                return response
        except _BadAnswerError as bad:
            return bad.response

    return Around(handle)


def httpx_retries_purgatory(inner: Transport) -> Transport:
    """Retries of the one around the breaker of the other."""
    return httpx_retries_example(purgatory_breaker(inner))


def interlock_alone(inner: Transport) -> Transport:
    """Interlock's transport with its defaults."""
    transport: Transport = AsyncCircuitBreakerTransport(inner)
    return transport


def httpx_retries_interlock(inner: Transport) -> Transport:
    """Retries of the one around the breaker of the other."""
    return httpx_retries_example(interlock_alone(inner))


def tenacious(call: Handler, **options: Any) -> Transport:  # noqa: ANN401 - handed on
    """A handler in tenacity's loop."""

    async def handle(request: httpx.Request) -> httpx.Response:
        async for attempt in tenacity.AsyncRetrying(**options, reraise=True):
            with attempt:
                response = await call(request)
        return response

    return Around(handle)


def by_tenacity(inner: Transport) -> Transport:
    """Tenacity with exponential jitter."""
    return tenacious(
        raising(inner),
        retry=tenacity.retry_if_exception_type(httpx.HTTPError),
        wait=tenacity.wait_exponential_jitter(),
        stop=tenacity.stop_after_attempt(4),
    )


def interlock_tenacity(inner: Transport) -> Transport:
    """Interlock with the retries that it recommends: none while its circuit is open."""
    return tenacious(
        raising(interlock_alone(inner)),
        retry=retry_unless_open(httpx.HTTPError),
        wait=tenacity.wait_exponential_jitter(),
        stop=tenacity.stop_after_attempt(5),
    )


def interlock_patient(inner: Transport) -> Transport:
    """Interlock in its patient mode: calls wait for the next probe."""
    return tenacious(
        raising(interlock_alone(inner)),
        retry=tenacity.retry_if_exception_type((httpx.HTTPError, CircuitOpenError)),
        wait=wait_probe(tenacity.wait_exponential_jitter()),
        stop=tenacity.stop_after_attempt(10),
    )


def by_stamina(inner: Transport) -> Transport:
    """Stamina with its defaults."""
    call = raising(inner)

    async def handle(request: httpx.Request) -> httpx.Response:
        async for attempt in stamina.retry_context(on=httpx.HTTPError):
            with attempt:
                response = await call(request)
        return response

    return Around(handle)


def by_hyx(inner: Transport) -> Transport:
    """Hyx's retries around its breaker, with its defaults."""
    broken = hyx.circuitbreaker.consecutive_breaker(exceptions=httpx.HTTPError)(raising(inner))
    return Around(hyx.retry.retry(on=httpx.HTTPError)(broken))


STACKS: dict[str, Callable[[Transport], Transport]] = {
    **STANDARD_STACKS,
    "RetryTransport": retry_transport,
    "RetryTransport + breaker": pair,
    "httpx-retries": httpx_retries_default,
    "httpx-retries 5 x 0.5": httpx_retries_example,
    "httpx-retries + purgatory": httpx_retries_purgatory,
    "httpx-retries + interlock": httpx_retries_interlock,
    "interlock": interlock_alone,
    "interlock + tenacity": interlock_tenacity,
    "interlock, patient": interlock_patient,
    "tenacity": by_tenacity,
    "stamina": by_stamina,
    "hyx": by_hyx,
}


def figures(report: Report) -> dict[str, float]:
    """What is kept of a report."""
    names = (
        "success",
        "worst",
        "spread",
        "oracle",
        "during",
        "after",
        "p50",
        "p99",
        "failed_after",
    )
    more = ("load", "peak", "wasted", "recovery", "never_recovered")
    return {name: round(getattr(report, name), 4) for name in (*names, *more)}


def keep(path: Path, results: Sequence[Mapping[str, Report]]) -> None:
    """Write the figures to a JSON file: scenario, stack, figure."""
    kept = {
        next(iter(reports.values())).scenario.name: {s: figures(r) for s, r in reports.items()}
        for reports in results
    }
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def chosen(options: argparse.Namespace) -> list[Scenario]:
    """The scenarios that were asked for, with their callers."""
    names = options.scenario or list(STANDARD)
    return [
        replace(
            STANDARD[name],
            callers=replace(
                STANDARD[name].callers, clients=options.clients, announced=options.announced
            ),
        )
        for name in names
    ]


def main() -> None:
    """Simulate, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[[], *STANDARD], help="default: all")
    parser.add_argument("--only", nargs="+", choices=list(STACKS), default=list(STACKS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--announced", action="store_true")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--json", type=Path, default=Path("outages.json"))
    options = parser.parse_args()
    began = time.monotonic()
    scenarios = chosen(options)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with progress_bar(output(stderr=True), len(scenarios) * options.seeds) as advance:
        results = sweep(
            {name: STACKS[name] for name in options.only},
            scenarios,
            seeds=seeds,
            processes=options.processes,
            progress=advance,
        )
    console = output()
    for scenario, reports in zip(scenarios, results, strict=True):
        console.print(table_of(scenario, reports))
    console.print(overview(results))
    keep(options.json, results)
    print(f"Kept in {options.json}. It took {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
