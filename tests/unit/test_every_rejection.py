"""Every reason for which a layer rejects a request: it is reported, counted, and shows no path."""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from tests.recorded import Recorded
from tests.support import Scripted
from walltrack import (
    CircuitBreakerTransport,
    ConcurrencyLimitTransport,
    Listener,
    RateLimitTransport,
    RejectReason,
    WaitingRoomTransport,
    WallTrackError,
    resilient_transport,
    snapshot,
)
from walltrack.telemetry.otel import OpenTelemetryListener

pytestmark = pytest.mark.anyio

HIDDEN = "hunter2"
URL = f"https://api.test/bot7:{HIDDEN}/send?key={HIDDEN}"
ROUTE = {"walltrack.route": "/bot{token}/send"}

Make = Callable[[Listener], httpx.AsyncBaseTransport]


async def held(_: httpx.Request) -> httpx.Response:
    """No response for a while."""
    await anyio.sleep(0.05)
    return httpx.Response(200)


def guarded(*steps: Any, cooldown: float = 30, **room: Any) -> Make:  # noqa: ANN401 - handed on
    """A circuit that opens at the first failure; with options of a waiting room, there is one."""
    breaker = partial(CircuitBreakerTransport, failure_threshold=1, cooldown=cooldown)
    waiting = partial(WaitingRoomTransport, **room) if room else None
    return lambda listener: resilient_transport(
        Scripted(*steps),
        retry=None,
        breaker=partial(breaker, listener=listener),
        waiting_room=waiting and partial(waiting, listener=listener),
        listener=listener,
    )


def limited(layer: Callable[..., httpx.AsyncBaseTransport], **options: Any) -> Make:  # noqa: ANN401 - handed on
    """A limit."""
    return lambda listener: layer(Scripted(held), listener=listener, **options)


REASONS: dict[RejectReason, Make] = {
    RejectReason.CIRCUIT_OPEN: guarded(503),
    RejectReason.QUEUE_FULL: limited(ConcurrencyLimitTransport, limit=1, max_queue=0),
    RejectReason.QUEUE_TIMEOUT: limited(ConcurrencyLimitTransport, limit=1, queue_timeout=0.01),
    RejectReason.RATE_LIMIT: limited(RateLimitTransport, rate=0.1, max_wait=1),
    RejectReason.WAITING_ROOM_FULL: guarded(503, cooldown=0.05, max_waiting=1, max_wait=1),
    RejectReason.WAITING_ROOM_TIMEOUT: guarded(503, held, cooldown=0.01, max_wait=0.02),
    RejectReason.CIRCUIT_OPEN_TOO_LONG: guarded(503, max_wait=1),
}
"""How to get each reason, by requests that come at once after a first one."""


@pytest.mark.parametrize("reason", RejectReason)
async def test_each_rejection_is_reported_and_counted_and_shows_no_path(
    reason: RejectReason, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each request that was not sent, on its span as well, under its route."""
    caplog.set_level(logging.DEBUG, "walltrack")
    recorded = Recorded()
    transport = REASONS[reason](OpenTelemetryListener(recorded.meters, recorded.tracers))
    errors: list[WallTrackError] = []

    async def ask() -> None:
        try:
            await client.get(URL, extensions=dict(ROUTE))
        except WallTrackError as error:
            errors.append(error)

    async with httpx.AsyncClient(transport=transport) as client:
        if reason not in {RejectReason.QUEUE_FULL, RejectReason.QUEUE_TIMEOUT}:
            await ask()
        with suppress(TimeoutError), anyio.fail_after(0.5):
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(ask)

    assert errors
    rejected = recorded.by("walltrack.rejected", "walltrack.reason")
    assert rejected[reason] == len(errors)
    assert sum(rejected.values()) == len(errors)
    logged = [record for record in caplog.records if record.__dict__["event"] == "request_rejected"]
    assert [record.__dict__["reason"] for record in logged] == [reason] * len(errors)
    assert {record.__dict__["path"] for record in logged} == {ROUTE["walltrack.route"]}

    shown = [repr(transport), repr(snapshot(transport)), *map(repr, errors), *map(str, errors)]
    shown += [span.to_json() for span in recorded.spans]
    shown += [repr(record.__dict__) for record in caplog.records]
    shown += [repr(recorded.points(name)) for name in recorded.names()]
    assert not [text for text in shown if HIDDEN in text]
    assert str(reason) in "".join(span.to_json() for span in recorded.spans)
