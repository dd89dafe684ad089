"""The state of layers as observable gauges of OpenTelemetry."""

import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from walltrack.core.naming import server_at
from walltrack.core.observer import Measure, Readable, Reading
from walltrack.core.version import __version__
from walltrack.telemetry.attributes import combined
from walltrack.telemetry.state import steadily

_GAUGES: Final[dict[Measure, tuple[str, str, str]]] = {
    "circuit_state": ("walltrack.circuit.state", "1", "0 closed, 1 half-open, 2 open."),
    "queue_waiting": ("walltrack.queue.waiting", "{request}", "Requests that wait for a turn."),
    "budget_balance": (
        "walltrack.retry_budget.balance",
        "{retry}",
        "Retries that a budget allows; full budgets are not reported.",
    ),
}


class Gauges:
    """The gauges of one meter provider, for the layers of all its listeners.

    A second gauge of the same name would be ignored by the SDK, with all that it has to report.

    Args:
        meter: Makes the gauges.
    """

    def __init__(self, meter: metrics.Meter) -> None:
        self._layers: weakref.WeakKeyDictionary[Readable, bool] = weakref.WeakKeyDictionary()
        for measure, (name, unit, description) in _GAUGES.items():
            meter.create_observable_gauge(name, [self._observing(measure)], unit, description)

    def add(self, layer: Readable, *, keys: bool) -> None:
        """Read the state of `layer` when metrics are collected, as long as it exists.

        Args:
            layer: The layer.
            keys: Whether keys that are not origins become an attribute.
        """
        self._layers[layer] = keys

    def _observing(self, measure: Measure) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            readings = [
                reading if keys or server_at(reading.key) else reading._replace(key=None)
                for layer, keys in steadily(lambda: list(self._layers.items()))
                for reading in _readings_of(layer)
                if reading.measure == measure
            ]
            return [Observation(value, attributes) for attributes, value in combined(readings)]

        return observe


_GAUGES_OF: Final[weakref.WeakKeyDictionary[object, Gauges]] = weakref.WeakKeyDictionary()


def gauges_of(provider: metrics.MeterProvider | None) -> Gauges:
    """Return the gauges of a meter provider; make them if there are none.

    Args:
        provider: The provider; None: the global one, also if it is set later.
    """
    is_global = provider is None or provider is metrics.get_meter_provider()
    place = metrics if is_global else provider  # the module means the global provider
    gauges = _GAUGES_OF.get(place)
    if gauges is None:
        gauges = _GAUGES_OF[place] = Gauges(metrics.get_meter("walltrack", __version__, provider))
    return gauges


def _readings_of(layer: Readable) -> list[Reading]:
    with suppress(RuntimeError):  # it changes all the time: it is shown the next time
        return steadily(lambda: list(layer.readings()))
    return []
