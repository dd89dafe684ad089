"""Count what the layers do, and show the counts as Prometheus reads them.

Run it with `uv run examples/metrics.py`. With prometheus_client, `Metrics.__call__` would be
`Counter("walltrack_events_total", ..., ["event", "service", "detail"]).labels(...).inc()`.
"""

import asyncio
from collections import Counter

import httpx

from walltrack import (
    Backoff,
    CircuitBreaker,
    CircuitBreakerOpenError,
    Event,
    RequestRejected,
    RetryPolicy,
    RetryScheduled,
    RetryStopped,
    log_event,
    resilient_transport,
)


class Metrics:
    """A listener that counts events by name, service and detail.

    The detail has few values: a status, the class of an exception, or a reason. Paths would be a
    series for every id in them.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def __call__(self, event: Event) -> None:
        """Count `event`, and log it: a listener replaces the log."""
        self.counts[event.name, event.service, detail_of(event)] += 1
        log_event(event)

    def exposition(self) -> str:
        """Return the counts in the text format of Prometheus."""
        lines = ["# TYPE walltrack_events_total counter"]
        for (name, service, detail), count in sorted(self.counts.items()):
            labels = f'event="{name}",service="{service}",detail="{detail}"'
            lines.append(f"walltrack_events_total{{{labels}}} {count}")
        return "\n".join(lines)


def detail_of(event: Event) -> str:
    """Return why the event happened, where an event says so."""
    match event:
        case RetryScheduled():
            return event.failure
        case RetryStopped():
            return event.stop_reason
        case RequestRejected():
            return event.reason
        case _:
            return ""


async def main() -> None:
    """Ask a service that is down until its circuit is open, and show the counts."""
    metrics = Metrics()
    transport = resilient_transport(
        httpx.MockTransport(lambda _: httpx.Response(503)),
        retry=RetryPolicy(backoff=Backoff(base=0.01)),
        breaker=CircuitBreaker(failure_threshold=5, service="prices"),
        listener=metrics,
    )
    async with httpx.AsyncClient(transport=transport) as client:
        for _ in range(3):
            try:
                await client.get(
                    "https://api.example.com/prices/sol", extensions={"walltrack.service": "prices"}
                )
            except CircuitBreakerOpenError as error:
                print(error)
    print(metrics.exposition())


if __name__ == "__main__":
    asyncio.run(main())
