"""What a metric is: its name here and in Prometheus, its unit, kind, labels and meaning.

The vocabulary of :mod:`service.metrics.registry`, which declares them; knows none of them.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """How values of a metric combine over time."""

    COUNTER = "counter"
    """Only grows; start over at 0 with the process."""
    GAUGE = "gauge"
    """The state of this moment."""
    HISTOGRAM = "histogram"
    """Observations counted in buckets."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that the service can report.

    Args:
        name: OpenTelemetry's name, dotted.
        unit: UCUM, as OpenTelemetry writes it: ``s``, ``By``, ``1``, ``{record}``.
        about: One sentence for whoever reads a dashboard.
        kind: How its values combine.
        labels: Names of its attributes, dotted.
        constant: Attributes that the conventions require and that are always the same.
    """

    name: str
    unit: str
    about: str
    kind: Kind = field(kw_only=True)
    labels: tuple[str, ...] = ()
    constant: tuple[tuple[str, str], ...] = ()

    @property
    def prometheus_name(self) -> str:
        """The name in ``/metrics``: OpenTelemetry's rules for dots, units and ``_total``."""
        name = prometheus_label(self.name)
        suffix = {"s": "_seconds", "By": "_bytes"}.get(self.unit, "")
        if not name.endswith(suffix):
            name += suffix
        return name + "_total" if self.kind is Kind.COUNTER else name


def prometheus_label(name: str) -> str:
    """An attribute's name as Prometheus can write it."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


DURATION_BOUNDS_S: tuple[float, ...] = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Upper bounds of the buckets of every exported histogram, in seconds."""
