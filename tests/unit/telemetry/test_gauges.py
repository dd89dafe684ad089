import gc
import weakref
from collections.abc import Iterable

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider

from tests.recorded import Recorded
from tests.support import Scripted, get
from tests.unit.telemetry.test_otel import listening
from walltrack import CircuitBreaker, CircuitBreakerTransport
from walltrack.core.observer import Reading
from walltrack.telemetry.gauges import gauges_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def recorded() -> Recorded:
    """What is recorded."""
    return Recorded()


async def test_a_transport_that_is_gone_is_not_shown_any_more(recorded: Recorded) -> None:
    """An open circuit of a client that was thrown away is no alarm."""
    listener = listening(recorded)

    def make() -> None:
        CircuitBreakerTransport(
            Scripted(200), breaker=CircuitBreaker(service="prices"), listener=listener
        )

    make()
    gc.collect()  # an observed transport and its own method form a cycle
    assert recorded.points("walltrack.circuit.state") == []


async def test_a_layer_that_changes_meanwhile_is_shown_the_next_time(recorded: Recorded) -> None:
    """Metrics are collected in another thread."""

    class Changing:
        def readings(self) -> Iterable[Reading]:
            raise RuntimeError("Set changed size during iteration")

    listener, layer = listening(recorded), Changing()
    listener.layer_made(layer)
    assert recorded.points("walltrack.circuit.state") == []


async def test_the_layers_of_all_listeners_of_a_provider_are_shown(recorded: Recorded) -> None:
    """Each stack may have a listener of its own, with or without keys."""
    kept = [
        CircuitBreakerTransport(
            Scripted(503),
            failure_threshold=1,
            key=lambda request: request.headers["x-tenant"],
            listener=listening(recorded, keys=keys),
        )
        for keys in (False, True)
    ]
    for tenant, transport in zip(("acme", "globex"), kept, strict=True):
        await transport.handle_async_request(get(headers={"x-tenant": tenant}))
    assert recorded.by("walltrack.circuit.state", "walltrack.key") == {None: 2, "globex": 2}


def test_the_global_provider_has_one_set_of_gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is set after a listener was made, or is given as well."""
    before = gauges_of(None)
    provider = MeterProvider(shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    assert gauges_of(None) is before
    assert gauges_of(provider) is before
    assert gauges_of(MeterProvider(shutdown_on_exit=False)) is not before


async def test_a_listener_keeps_neither_providers_nor_layers(recorded: Recorded) -> None:
    """Of a program that makes many of both, nothing remains."""
    breaker = CircuitBreakerTransport(Scripted(200), listener=listening(recorded))
    gone = weakref.ref(recorded.meters), weakref.ref(breaker)
    recorded.meters.shutdown()
    recorded.__dict__.clear()
    del breaker
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
