"""``/metrics``: the registry in Prometheus' text format.

Written from the plain numbers by Prometheus' own client; the OpenTelemetry SDK is not involved,
so scraping works the same whether or not a collector is configured.
"""

from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from service.metrics import METRICS, Kind, Metric
from service.metrics.histogram import Histogram
from service.metrics.metric import DURATION_BOUNDS_S, prometheus_label
from service.telemetry.readings import HISTOGRAMS, NUMBERS, Sources

_BOUNDS = (*map(str, DURATION_BOUNDS_S), "+Inf")

_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Exposition:
    """Writes the metrics of ``sources`` and of the process itself."""

    def __init__(self, sources: Sources) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(sources))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """All metrics as of now."""
        return generate_latest(self._registry)


class _Collector(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[_Family]:
        for metric in METRICS:
            yield self._family(metric)

    def _family(self, metric: Metric) -> _Family:
        labels = [prometheus_label(label) for label in metric.labels]
        name = metric.prometheus_name
        if metric.kind is Kind.HISTOGRAM:
            histograms = HistogramMetricFamily(name, metric.about, labels=labels)
            for values, histogram in HISTOGRAMS[metric](self._sources):
                histograms.add_metric(
                    list(values), buckets=_buckets(histogram), sum_value=histogram.sum_s
                )
            return histograms
        make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
        family = make(name, metric.about, labels=labels)
        for values, number in NUMBERS[metric](self._sources):
            family.add_metric(list(values), number)
        return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    return list(zip(_BOUNDS, histogram.cumulative(DURATION_BOUNDS_S), strict=True))
