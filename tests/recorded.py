"""What the real SDK of OpenTelemetry recorded, in memory."""

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Recorded:
    """Providers of metrics and spans, and what was recorded through them."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = InMemorySpanExporter()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in the order of their ends."""
        return list(self._exporter.get_finished_spans())

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The attributes and the value of each point of a metric: for a histogram, its count."""
        data = self._reader.get_metrics_data()
        found = [
            (dict(point.attributes or {}), getattr(point, "value", getattr(point, "count", None)))
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]
        return sorted(found, key=repr)

    def by(self, name: str, *attributes: str) -> dict[Any, Any]:
        """The values of a metric, summed by some of its attributes."""
        sums: dict[Any, Any] = {}
        for found, value in self.points(name):
            values = tuple(found.get(attribute) for attribute in attributes)
            key: Any = values[0] if len(values) == 1 else values
            sums[key] = sums.get(key, 0) + value
        return sums

    def names(self) -> set[str]:
        """The names of all metrics that were recorded."""
        data = self._reader.get_metrics_data()
        return {
            metric.name
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def events(self, span: ReadableSpan) -> list[str]:
        """The names of the events on a span."""
        return [event.name for event in span.events]
