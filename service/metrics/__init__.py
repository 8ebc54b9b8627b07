"""What is measured: the registry of metrics, the counters behind them, the facts of a moment.

The data path imports :class:`PipelineCounters` from here and adds to plain integers.  Nothing
here exports anything or knows OpenTelemetry; see ``service.telemetry`` for that.
"""

from service.metrics.counters import HandlerCounters, HubCounters, PipelineCounters
from service.metrics.demand import ReplicaDemand
from service.metrics.meter import PipelineMeter
from service.metrics.metric import Kind, Metric
from service.metrics.registry import METRICS
from service.metrics.status import (
    Blocking,
    Cause,
    ChannelStatus,
    LatencyStatus,
    PartitionStatus,
    Phase,
    PipelineStatus,
    ServiceStatus,
    StatusSource,
)

__all__ = [
    "METRICS",
    "Blocking",
    "Cause",
    "ChannelStatus",
    "HandlerCounters",
    "HubCounters",
    "Kind",
    "LatencyStatus",
    "Metric",
    "PartitionStatus",
    "Phase",
    "PipelineCounters",
    "PipelineMeter",
    "PipelineStatus",
    "ReplicaDemand",
    "ServiceStatus",
    "StatusSource",
]
