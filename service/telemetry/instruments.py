"""The registry as OpenTelemetry instruments, for collectors that are pushed to.

Counters and gauges are observable instruments that read the plain numbers when the SDK exports.
Histograms are kept in our own buckets, because ``Histogram.record`` costs 8 microseconds a call
and the API has no observable histogram; their points are added to what the SDK exports.
"""

import dataclasses
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.export import Metric as MetricData

from service.clock import wall_clock_s
from service.metrics import METRICS, Kind, Metric
from service.metrics.metric import DURATION_BOUNDS_S
from service.telemetry.readings import HISTOGRAMS, NUMBERS, Labels, Numbers, Sources


def create_instruments(meter: Meter, sources: Sources) -> None:
    """Register an observable instrument for every counter and gauge of the registry."""
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            continue
        make = (
            meter.create_observable_counter
            if metric.kind is Kind.COUNTER
            else meter.create_observable_gauge
        )
        callback = _callback(metric, NUMBERS[metric], sources)
        make(metric.name, callbacks=[callback], unit=metric.unit, description=metric.about)


def _callback(
    metric: Metric, read: Numbers, sources: Sources
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_options: CallbackOptions) -> list[Observation]:
        return [
            Observation(number, _attributes(metric, labels)) for labels, number in read(sources)
        ]

    return observe


class HistogramExporter(OTLPMetricExporter):
    """OTLP over HTTP, with the histograms of ``sources`` beside what the SDK collected.

    They are cumulative, whatever temporality is preferred for the rest: a restart then shows as
    a new start time, and an export that fails loses nothing.
    """

    def __init__(self, sources: Sources, **options: Any) -> None:
        super().__init__(**options)
        self._sources = sources
        self._started_ns = int(wall_clock_s() * 1e9)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export ``metrics_data`` and the histograms."""
        return super().export(self._joined(metrics_data), timeout_millis, **kwargs)

    def _joined(self, data: MetricsData) -> MetricsData:
        """``data`` with the histograms among the metrics of its first scope."""
        if not data.resource_metrics or not data.resource_metrics[0].scope_metrics:
            return data
        resource, *resources = data.resource_metrics
        # Not a scope of their own: the encoder keeps one entry per scope, the last.
        scope, *scopes = resource.scope_metrics
        histograms = histogram_data(self._sources, self._started_ns)
        scope = dataclasses.replace(scope, metrics=[*scope.metrics, *histograms])
        resource = dataclasses.replace(resource, scope_metrics=[scope, *scopes])
        return MetricsData(resource_metrics=[resource, *resources])


def histogram_data(sources: Sources, started_ns: int) -> list[MetricData]:
    """The histograms of the registry, counted since ``started_ns`` (Unix nanoseconds)."""
    now_ns = int(wall_clock_s() * 1e9)
    found: list[MetricData] = []
    for metric, read in HISTOGRAMS.items():
        points: list[HistogramDataPoint] = []
        for labels, histogram in read(sources):
            cumulative = histogram.cumulative(DURATION_BOUNDS_S)
            points.append(
                HistogramDataPoint(
                    attributes=_attributes(metric, labels),
                    start_time_unix_nano=started_ns,
                    time_unix_nano=now_ns,
                    count=cumulative[-1],
                    sum=histogram.sum_s,
                    bucket_counts=[after - before for before, after in pairwise([0, *cumulative])],
                    explicit_bounds=DURATION_BOUNDS_S,
                    min=histogram.quantile(0.0),
                    max=histogram.quantile(1.0),
                )
            )
        data = HistogramData(
            data_points=points, aggregation_temporality=AggregationTemporality.CUMULATIVE
        )
        found.append(
            MetricData(name=metric.name, description=metric.about, unit=metric.unit, data=data)
        )
    return found


def _attributes(metric: Metric, labels: Labels) -> dict[str, str]:
    return {**dict(metric.constant), **dict(zip(metric.labels, labels, strict=True))}
