"""Writes ``docs/metrics.md`` from the registry: ``python -m docs.metrics_reference``.

A unit test fails when the file is not what this writes.
"""

from pathlib import Path

from service.metrics import METRICS, Metric
from service.metrics.metric import DURATION_BOUNDS_S, prometheus_label

TARGET = Path(__file__).parent / "metrics.md"

_HEAD = """\
# Metrics

<!-- Written by `python -m docs.metrics_reference` from service/metrics/registry.py. -->

Every metric that the service reports, with its kind, unit and labels. They are served in
Prometheus' text format on the admin port (`/metrics`, 8081) and pushed by OTLP when an
OTLP endpoint is set (`OTEL_EXPORTER_OTLP_ENDPOINT` and its relatives). Names follow the
OpenTelemetry conventions for messaging where those have one; the rest start with `service.`.
Counters start at 0 with the process. The process's own CPU, memory, file descriptors and garbage
collector are served beside these as `process_*` and `python_*`.

What to do when one of them raises an alert: [runbook](runbook.md).
"""


def reference() -> str:
    """The whole page."""
    bounds = ", ".join(f"{bound_s:g}" for bound_s in DURATION_BOUNDS_S)
    return "\n".join(
        [
            _HEAD,
            "| Prometheus | OpenTelemetry | kind, unit | labels | what it says |",
            "|---|---|---|---|---|",
            *map(_row, METRICS),
            "",
            f"Bounds of the histograms' buckets, in seconds: {bounds}.",
            "",
        ]
    )


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{prometheus_label(label)}`" for label in metric.labels) or "none"
    return (
        f"| `{metric.prometheus_name}` | `{metric.name}` | {metric.kind}, `{metric.unit}` "
        f"| {labels} | {metric.about} |"
    )


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
