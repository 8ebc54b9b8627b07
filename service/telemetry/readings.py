"""Which number belongs to which metric.

Every metric of the registry has exactly one reader here (a test says so), whoever asks:
Prometheus or a collector.  Readers run in the asking thread and read plain integers and
immutable snapshots, so they neither wait for the event loop nor make it wait.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from service.errors import ERROR_CODES
from service.metrics import (
    Cause,
    HandlerCounters,
    HubCounters,
    Metric,
    PartitionStatus,
    Phase,
    PipelineCounters,
    PipelineStatus,
    ServiceStatus,
    registry,
)
from service.metrics.histogram import Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the numbers come from; each callable answers at once, in any thread.

    Args:
        counters: The counters of every pipeline.
        status: The latest snapshot.
        hub: Counters of the dashboards.
        ready: Whether the readiness probe succeeds.
        loop_lag_s: Worst recent delay of the event loop.
        loop_blocks: Incidents of a blocked event loop.
        logs_dropped: Log lines dropped.
        spans_dropped: Spans dropped.
        version: Version of the service.
    """

    counters: Callable[[], Iterable[PipelineCounters]] = tuple
    status: Callable[[], ServiceStatus] = ServiceStatus
    hub: HubCounters = field(default_factory=HubCounters)
    ready: Callable[[], bool] = bool
    loop_lag_s: Callable[[], float] = float
    loop_blocks: Callable[[], int] = int
    logs_dropped: Callable[[], int] = int
    spans_dropped: Callable[[], int] = int
    version: str = ""


_NO_LETTERS = dict.fromkeys(ERROR_CODES, 0)

Labels: TypeAlias = tuple[str, ...]
"""Values of a metric's labels, in the order of ``Metric.labels``."""

Numbers: TypeAlias = Callable[[Sources], Iterable[tuple[Labels, float]]]
Histograms: TypeAlias = Callable[[Sources], Iterable[tuple[Labels, Histogram]]]


def _process(read: Callable[[Sources], float]) -> Numbers:
    return lambda sources: [((), read(sources))]


def _pipeline(read: Callable[[PipelineCounters], float]) -> Numbers:
    return lambda sources: [((each.name,), read(each)) for each in sources.counters()]


def _handler(read: Callable[[HandlerCounters], float]) -> Numbers:
    return lambda sources: [(labels, read(each)) for labels, each in _handlers(sources)]


def _status(read: Callable[[PipelineStatus], float]) -> Numbers:
    return lambda sources: [
        ((name,), read(each)) for name, each in sources.status().pipelines.items()
    ]


def _partition(read: Callable[[PartitionStatus], float]) -> Numbers:
    return lambda sources: [(labels, read(each)) for labels, each in _partitions(sources)]


def _handlers(sources: Sources) -> Iterator[tuple[Labels, HandlerCounters]]:
    for counters in sources.counters():
        # A copy, taken in one step: the event loop may be adding a handler right now.
        for name, handler in counters.handlers.copy().items():
            yield (counters.name, name), handler


def _partitions(sources: Sources) -> Iterator[tuple[Labels, PartitionStatus]]:
    for name, pipeline in sources.status().pipelines.items():
        for each in pipeline.partitions:
            yield (name, each.group, each.topic, str(each.partition)), each


def _dead_letters(sources: Sources) -> Iterator[tuple[Labels, float]]:
    for counters in sources.counters():
        # Those that there are not yet, too: a counter that first shows up as 1 has not increased
        # for Prometheus, and the first dead letters would alert nobody.
        for code, count in {**_NO_LETTERS, **counters.dead_letters}.items():
            yield (counters.name, code), count


def _running(sources: Sources) -> Iterator[tuple[Labels, float]]:
    for name, pipeline in sources.status().pipelines.items():
        for handler, count in pipeline.running.items():
            yield (name, handler), count


def _stage_times(sources: Sources) -> Iterator[tuple[Labels, float]]:
    for each in sources.counters():
        yield (each.name, "poll"), each.poll_s
        yield (each.name, "normalize"), each.normalize_s
        yield (each.name, "handle"), each.handle_s
        yield (each.name, "publish"), each.publish_s
        yield (each.name, "backpressure"), each.backpressure_s


def _blocked(sources: Sources) -> Iterator[tuple[Labels, float]]:
    for labels, each in _partitions(sources):
        found = each.blocking.cause if each.blocking is not None and each.stands_still else None
        for cause in Cause:
            held = cause is found
            yield (*labels, str(cause)), float(held)


def _phases(sources: Sources) -> Iterator[tuple[Labels, float]]:
    now = sources.status().phase
    return (((str(phase),), float(phase is now)) for phase in Phase)


NUMBERS: Mapping[Metric, Numbers] = {
    registry.CONSUMED: _pipeline(lambda each: each.records_in),
    registry.CONSUMED_BYTES: _pipeline(lambda each: each.bytes_in),
    registry.BATCHES: _pipeline(lambda each: each.batches),
    registry.SENT: _pipeline(lambda each: each.results_out),
    registry.ACKED: _pipeline(lambda each: each.acked),
    registry.DEAD_LETTERS: _dead_letters,
    registry.DROPPED: _status(lambda each: each.dropped),
    registry.PUBLISH_FAILURES: _pipeline(lambda each: each.publish_failures),
    registry.HANDLED: _handler(lambda each: each.handled),
    registry.HANDLER_FAILURES: _handler(lambda each: each.failed),
    registry.HANDLER_TIMEOUTS: _handler(lambda each: each.timed_out),
    registry.RETRIES: _handler(lambda each: each.retries),
    registry.RUNNING: _running,
    registry.PARKED: _handler(lambda each: each.parked),
    registry.STATE_KEYS: _handler(lambda each: each.state_keys),
    registry.STATE_EVICTED: _handler(lambda each: each.state_evicted),
    registry.STATE_DAMAGED: _handler(lambda each: each.state_damaged),
    registry.CHANGELOG_LAG: _handler(lambda each: each.changelog_lag),
    registry.STATE_RESTORED: _handler(lambda each: each.restored),
    registry.RESTORE_LEFT: _handler(lambda each: each.restore_left),
    registry.RESTORE_DURATION: _handler(lambda each: each.restore_s),
    registry.STAGE_TIME: _stage_times,
    registry.IN_FLIGHT: _status(lambda each: each.in_flight),
    registry.CHANNEL_DEPTH: _status(lambda each: each.channel.depth),
    registry.CHANNEL_PEAK: _status(lambda each: each.channel.peak),
    registry.CHANNEL_CAPACITY: _status(lambda each: each.channel.capacity),
    registry.CHANNEL_BYTES: _status(lambda each: each.channel.bytes),
    registry.LAG: _partition(lambda each: each.lag),
    registry.LAG_TIME: _partition(lambda each: each.lag_s),
    registry.PARTITION_IN_FLIGHT: _partition(lambda each: each.in_flight),
    registry.OLDEST_IN_FLIGHT: _partition(lambda each: each.oldest_in_flight_s),
    registry.COMMIT_AGE: _partition(lambda each: each.commit_age_s),
    registry.BLOCKED: _blocked,
    registry.COMMITS: _pipeline(lambda each: each.commits),
    registry.COMMIT_FAILURES: _pipeline(lambda each: each.commit_failures),
    registry.REBALANCES: _pipeline(lambda each: each.rebalances),
    registry.OFFSET_RESETS: _pipeline(lambda each: each.offset_resets),
    registry.STALE_ACKS: _pipeline(lambda each: each.stale_acks),
    registry.REPLICAS_DESIRED: _status(lambda each: each.replicas_desired),
    registry.LOOP_LAG: _process(lambda sources: sources.loop_lag_s()),
    registry.LOOP_BLOCKS: _process(lambda sources: sources.loop_blocks()),
    registry.READY: _process(lambda sources: float(sources.ready())),
    registry.PHASE: _phases,
    registry.BROKER_SILENCE: _process(lambda sources: sources.status().broker_silent_s),
    registry.LOGS_DROPPED: _process(lambda sources: sources.logs_dropped()),
    registry.SPANS_DROPPED: _process(lambda sources: sources.spans_dropped()),
    registry.BUILD: lambda sources: [((sources.version,), 1.0)],
    registry.DASHBOARDS: _process(lambda sources: sources.hub.connections),
    registry.DASHBOARD_SENT: _process(lambda sources: sources.hub.sent),
    registry.DASHBOARD_DROPPED: _process(lambda sources: sources.hub.dropped),
    registry.DASHBOARD_SLOW: _process(lambda sources: sources.hub.disconnected_slow),
}
"""Readers of counters and gauges."""


def _latencies(sources: Sources) -> Iterator[tuple[Labels, Histogram]]:
    return (((each.name,), each.latency) for each in sources.counters())


def _durations(sources: Sources) -> Iterator[tuple[Labels, Histogram]]:
    return ((labels, each.durations) for labels, each in _handlers(sources))


def _operations(sources: Sources) -> Iterator[tuple[Labels, Histogram]]:
    for each in sources.counters():
        yield (each.name, "send"), each.send_durations
        yield (each.name, "commit"), each.commit_durations


HISTOGRAMS: Mapping[Metric, Histograms] = {
    registry.LATENCY: _latencies,
    registry.PROCESS_DURATION: _durations,
    registry.OPERATION_DURATION: _operations,
}
"""Readers of histograms."""
