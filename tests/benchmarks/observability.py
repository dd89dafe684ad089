"""What metrics cost a healthy call: ours and interlock-cb's, beside bare httpx.

Run it with `uv run --group bench python -m tests.benchmarks.observability`. It takes about twenty
seconds, and no network. The SDK of OpenTelemetry aggregates in memory, as it does in a program.
"""

import argparse
import asyncio
from collections.abc import Mapping

import httpx
from interlock.integrations.httpx import AsyncCircuitBreakerTransport
from interlock.integrations.otel import OTelEventListener
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tests.benchmarks.contenders import Factory, bare
from tests.benchmarks.measuring import Run, Table, interleaved, show
from tests.benchmarks.overhead import Answering, Streaming, calls
from walltrack import CircuitBreakerTransport, Listener, RetryTransport, log_event
from walltrack.telemetry.otel import OpenTelemetryListener

URL = "https://api.test/"


def meters() -> MeterProvider:
    """The SDK, which aggregates and keeps."""
    return MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)


def ours(listener: Listener | None) -> Factory:
    """Retries and a circuit breaker with this listener."""
    return lambda inner: RetryTransport(
        CircuitBreakerTransport(inner, listener=listener), listener=listener
    )


CONTENDERS: Mapping[str, Factory] = {
    "bare": bare,
    "walltrack, no listener": ours(None),
    "walltrack, the log": ours(log_event),
    "walltrack, OpenTelemetry": ours(OpenTelemetryListener(meters())),
    "interlock-cb": AsyncCircuitBreakerTransport,
    "interlock-cb, OpenTelemetry": lambda inner: AsyncCircuitBreakerTransport(
        inner, listener=OTelEventListener(meters().get_meter("interlock"))
    ),
}


def over(took: Mapping[str, list[float]]) -> Table:
    """What each adds to the bare call, at its fastest."""
    fastest = {name: min(rounds) for name, rounds in took.items()}
    floor = fastest["bare"]
    return {
        name: {
            "ns": round(ns),
            "added ns": round(ns - floor),
            "added %": round(100 * (ns - floor) / floor, 1),
        }
        for name, ns in fastest.items()
    }


def gets(client: httpx.AsyncClient) -> Run:
    """Calls of a client, body read to its end."""

    async def run(times: int) -> None:
        for _ in range(times):
            await client.get(URL)

    return run


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    layers = {name: calls(make(Answering())) for name, make in CONTENDERS.items()}
    show("A call of the transport", over(await interleaved(layers, rounds, 200)))
    clients = {
        name: gets(httpx.AsyncClient(transport=make(Streaming())))
        for name, make in CONTENDERS.items()
    }
    show("AsyncClient.get through a mock", over(await interleaved(clients, rounds, 40)))


if __name__ == "__main__":
    asyncio.run(main())
