import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
)
from opentelemetry.sdk.metrics.export import Metric as MetricData

from service.metrics import METRICS, Kind, PipelineCounters
from service.telemetry.instruments import HistogramExporter, create_instruments, histogram_data
from service.telemetry.readings import Sources


def _sources() -> Sources:
    counters = PipelineCounters("logs")
    counters.records_in = 1000
    counters.handler("alerts").durations.record(0.003, 10)
    return Sources(counters=lambda: [counters])


def _collected(sources: Sources) -> MetricsData:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    create_instruments(provider.get_meter("test"), sources)
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    return data


def _by_name(data: MetricsData) -> dict[str, MetricData]:
    return {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_a_counter_is_observed_with_its_attributes() -> None:
    metric = _by_name(_collected(_sources()))["messaging.client.consumed.messages"]

    (point,) = metric.data.data_points
    assert isinstance(point, NumberDataPoint)
    assert point.value == 1000
    assert point.attributes == {"service.pipeline": "logs", "messaging.operation.name": "poll"}
    assert (metric.unit, metric.description) == (
        "{message}",
        "Records that entered a pipeline, from all of its sources.",
    )


def test_histograms_carry_our_own_buckets() -> None:
    data = {metric.name: metric for metric in histogram_data(_sources(), started_ns=1)}

    metric = data["messaging.process.duration"]
    assert isinstance(metric.data, HistogramData)
    (point,) = metric.data.data_points
    assert point.count == 10
    assert sum(point.bucket_counts) == 10
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert point.attributes == {
        "service.pipeline": "logs",
        "service.handler": "alerts",
        "messaging.operation.name": "process",
    }


def test_a_push_has_every_metric_of_the_registry_that_has_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources = _sources()
    pushed: list[MetricsData] = []

    def export(_self: object, data: MetricsData, *_args: object) -> MetricExportResult:
        pushed.append(data)
        return MetricExportResult.SUCCESS

    monkeypatch.setattr(OTLPMetricExporter, "export", export)
    exporter = HistogramExporter(sources)

    exporter.export(_collected(sources))

    names = set(_by_name(pushed[0]))
    assert {metric.name for metric in METRICS if metric.kind is Kind.HISTOGRAM} <= names
    assert "service.loop.lag" in names
