"""Export the metrics of walltrack to Prometheus by way of OpenTelemetry.

Run it with `uv run examples/observability/export.py`: it makes calls to a service that is down for
a while, and prints what Prometheus would read from `http://localhost:9464/metrics`. In a program,
`prometheus_client.start_http_server(9464)` serves it.
"""

import asyncio
from contextlib import suppress

import httpx
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest
from redis.asyncio import Redis

from walltrack import Backoff, RetryPolicy, resilient_transport
from walltrack.fleet import RedisState
from walltrack.telemetry.otel import OpenTelemetryListener

# Once, where the program starts:
metrics.set_meter_provider(MeterProvider([PrometheusMetricReader(disable_target_info=True)]))
listener = OpenTelemetryListener(listener=None)  # without listener=None, it also logs


def unsteady() -> httpx.MockTransport:
    """A service that is slow at first, asks for fewer requests, is down, and then well again."""
    answers = [200, 503, 200, 429, *[503] * 6]

    async def answer(_: httpx.Request) -> httpx.Response:
        status = answers.pop(0) if answers else 200
        await asyncio.sleep(0.02 if status == 200 else 0)
        return httpx.Response(status, headers={"retry-after-ms": "5"} if status == 429 else {})

    return httpx.MockTransport(answer)


async def main() -> None:
    """Make calls until every metric has a value, and print them."""
    async with Redis(port=1) as nowhere:  # a store that cannot be reached
        transport = resilient_transport(
            unsteady(),
            retry=RetryPolicy(max_retries=2, backoff=Backoff(base=0.001, cap=0.001)),
            hedge=0.01,
            rate_limit=1000,
            concurrency_limit=2,
            waiting_room=None,  # so that an open circuit rejects calls
            shared=RedisState(nowhere, listener=listener),
            listener=listener,
        )
        async with httpx.AsyncClient(transport=transport) as client:
            for _ in range(6):
                with suppress(httpx.TransportError):  # when the circuit is open
                    await client.get("https://api.example.com/prices")
        print(generate_latest(REGISTRY).decode())


if __name__ == "__main__":
    asyncio.run(main())
