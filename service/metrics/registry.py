"""Every metric of the service: its name, unit, kind, labels and what it says.

The one place where a metric is declared.  Instruments, ``/metrics``, ``docs/metrics.md``, the
dashboard and the alert rules use these names, and a test fails when one of them uses another.
Names are those of the OpenTelemetry semantic conventions (messaging) where those have one, and
start with ``service.`` where they do not.  How a value is read is not known here.
"""

from functools import partial

from service.metrics.metric import Kind, Metric

_counter = partial(Metric, kind=Kind.COUNTER)
_gauge = partial(Metric, kind=Kind.GAUGE)
_histogram = partial(Metric, kind=Kind.HISTOGRAM)

_OPERATION = "messaging.operation.name"

_PIPELINE = ("service.pipeline",)
_HANDLER = (*_PIPELINE, "service.handler")
_PARTITION = (*_PIPELINE, "group", "topic", "partition")

# -- what flows ---------------------------------------------------------------------------------

CONSUMED = _counter(
    "messaging.client.consumed.messages",
    "{message}",
    "Records that entered a pipeline, from all of its sources.",
    labels=_PIPELINE,
    constant=((_OPERATION, "poll"),),
)
CONSUMED_BYTES = _counter(
    "service.consumed.bytes",
    "By",
    "Bytes of the keys, values and headers of those records.",
    labels=_PIPELINE,
)
BATCHES = _counter(
    "service.consumed.batches", "{batch}", "Record batches they came in.", labels=_PIPELINE
)
SENT = _counter(
    "messaging.client.sent.messages",
    "{message}",
    "Results that their output topic has acknowledged.",
    labels=_PIPELINE,
    constant=((_OPERATION, "send"),),
)
ACKED = _counter(
    "service.acknowledged.records",
    "{record}",
    "Records whose every effect is durable, so that their offset may be committed.",
    labels=_PIPELINE,
)
DEAD_LETTERS = _counter(
    "service.dead_letter.records",
    "{record}",
    "Records published to the dead-letter topic, by error code.",
    labels=(*_PIPELINE, "error.type"),
)
DROPPED = _counter(
    "service.dropped.events",
    "{message}",
    "Incoming messages that the channel's overflow policy refused or threw away.",
    labels=_PIPELINE,
)
PUBLISH_FAILURES = _counter(
    "service.publish.failures",
    "{request}",
    "Produce requests that failed for good and were sent again by another producer; what the "
    "client tries again by itself is not counted.",
    labels=_PIPELINE,
)

OPERATION_DURATION = _histogram(
    "messaging.client.operation.duration",
    "s",
    "Time from a produce or commit request to its answer.",
    labels=(*_PIPELINE, _OPERATION),
)

# -- handlers -----------------------------------------------------------------------------------

PROCESS_DURATION = _histogram(
    "messaging.process.duration",
    "s",
    "Duration of one attempt of a handler.",
    labels=_HANDLER,
    constant=((_OPERATION, "process"),),
)
HANDLED = _counter(
    "service.handler.events",
    "{event}",
    "Events that a handler finished, whatever came of them.",
    labels=_HANDLER,
)
HANDLER_FAILURES = _counter(
    "service.handler.failures",
    "{attempt}",
    "Attempts of a handler that raised or ran out of time.",
    labels=_HANDLER,
)
HANDLER_TIMEOUTS = _counter(
    "service.handler.timeouts",
    "{attempt}",
    "Attempts of a handler that ran out of time.",
    labels=_HANDLER,
)
RETRIES = _counter(
    "service.handler.retries",
    "{attempt}",
    "Attempts of a handler after the first.",
    labels=_HANDLER,
)
RUNNING = _gauge(
    "service.handler.running",
    "{event}",
    "Calls of a handler that are running now.",
    labels=_HANDLER,
)
PARKED = _gauge(
    "service.handler.parked",
    "{event}",
    "Events that wait for their next attempt now.",
    labels=_HANDLER,
)

STATE_KEYS = _gauge(
    "service.state.keys", "{key}", "Keys that a handler remembers now.", labels=_HANDLER
)
STATE_EVICTED = _gauge(
    "service.state.evicted",
    "{key}",
    "Keys forgotten for want of room (max_keys), in the partitions held now.",
    labels=_HANDLER,
)
STATE_DAMAGED = _gauge(
    "service.state.damaged",
    "{key}",
    "Keys forgotten because their stored value could not be decoded, in the partitions held now.",
    labels=_HANDLER,
)
CHANGELOG_LAG = _gauge(
    "service.state.changelog.lag",
    "{key}",
    "Changed keys whose value is not durable in the changelog yet.",
    labels=_HANDLER,
)
STATE_RESTORED = _counter(
    "service.state.restored",
    "{record}",
    "Changelog records read back when partitions were assigned.",
    labels=_HANDLER,
)
RESTORE_LEFT = _gauge(
    "service.state.restore.left",
    "{record}",
    "Changelog records that a restore has yet to read; 0 while there is none.",
    labels=_HANDLER,
)
RESTORE_DURATION = _gauge(
    "service.state.restore.duration",
    "s",
    "Duration of the latest restore of a partition's state.",
    labels=_HANDLER,
)

# -- time ---------------------------------------------------------------------------------------

LATENCY = _histogram(
    "service.record.latency",
    "s",
    "Time from a record's fetch to its acknowledgement.",
    labels=_PIPELINE,
)
STAGE_TIME = _counter(
    "service.stage.time",
    "s",
    "Time spent in poll, normalize, handle, publish and backpressure.",
    labels=(*_PIPELINE, "service.stage"),
)

# -- what waits ---------------------------------------------------------------------------------

IN_FLIGHT = _gauge(
    "service.in_flight.records",
    "{record}",
    "Records taken in and not yet acknowledged.",
    labels=_PIPELINE,
)
CHANNEL_DEPTH = _gauge(
    "service.channel.depth",
    "{record}",
    "Records in the channel between the sources and the pipeline.",
    labels=_PIPELINE,
)
CHANNEL_PEAK = _gauge(
    "service.channel.peak", "{record}", "Most records that the channel ever held.", labels=_PIPELINE
)
CHANNEL_CAPACITY = _gauge(
    "service.channel.capacity",
    "{record}",
    "Most records that the channel may hold.",
    labels=_PIPELINE,
)
CHANNEL_BYTES = _gauge(
    "service.channel.size",
    "By",
    "Bytes in the channel between the sources and the pipeline.",
    labels=_PIPELINE,
)

# -- partitions and commits ---------------------------------------------------------------------

LAG = _gauge(
    "kafka.consumer_group.lag",
    "{message}",
    "Records between the committed position of a partition and its end.",
    labels=_PARTITION,
)
LAG_TIME = _gauge(
    "service.partition.lag",
    "s",
    "Age of the oldest record of a partition that is not committed; in a delay topic from "
    "when it was due.",
    labels=_PARTITION,
)
PARTITION_IN_FLIGHT = _gauge(
    "service.partition.in_flight",
    "{record}",
    "Records of a partition taken in and not yet acknowledged.",
    labels=_PARTITION,
)
OLDEST_IN_FLIGHT = _gauge(
    "service.partition.oldest_in_flight",
    "s",
    "How long the oldest of them has been with the service.",
    labels=_PARTITION,
)
COMMIT_AGE = _gauge(
    "service.partition.commit_age",
    "s",
    "Time without a commit while something of a partition waits to be committed.",
    labels=_PARTITION,
)
BLOCKED = _gauge(
    "service.partition.blocked",
    "1",
    "1 while a partition's commit is held back, by what holds it.",
    labels=(*_PARTITION, "service.cause"),
)
COMMITS = _counter(
    "service.commits", "{commit}", "Offset commits that the broker accepted.", labels=_PIPELINE
)
COMMIT_FAILURES = _counter(
    "service.commit.failures",
    "{commit}",
    "Offset commits that the broker refused or did not answer.",
    labels=_PIPELINE,
)
REBALANCES = _counter(
    "service.rebalances",
    "{rebalance}",
    "Assignments received from the consumer group.",
    labels=_PIPELINE,
)
OFFSET_RESETS = _counter(
    "service.offset.resets",
    "{reset}",
    "Positions that were no longer in the log, so that the out-of-range policy was applied.",
    labels=_PIPELINE,
)
STALE_ACKS = _counter(
    "service.stale.acknowledgements",
    "{record}",
    "Acknowledgements of a revoked assignment, which are ignored.",
    labels=_PIPELINE,
)

REPLICAS_DESIRED = _gauge(
    "service.replicas.desired",
    "{replica}",
    "Replicas, of `workers` processes each, that the load of this process's partitions keeps "
    "busy; the sum over all processes, rounded up, is how many the pipeline needs.",
    labels=_PIPELINE,
)

# -- the process --------------------------------------------------------------------------------

LOOP_LAG = _gauge(
    "service.loop.lag",
    "s",
    "Longest delay of a due timer of the event loop in the last ten seconds.",
)
LOOP_BLOCKS = _counter(
    "service.loop.blocks",
    "{incident}",
    "Times that something blocked the event loop for longer than the watchdog allows.",
)
READY = _gauge("service.ready", "1", "1 while the readiness probe succeeds.")
PHASE = _gauge(
    "service.phase",
    "1",
    "1 for the phase of life that the process is in, 0 for the others.",
    labels=("state",),
)
BROKER_SILENCE = _gauge(
    "service.broker.silence", "s", "Time since a broker last answered anything."
)
LOGS_DROPPED = _counter(
    "service.log.dropped", "{line}", "Log lines dropped because the output was blocked."
)
SPANS_DROPPED = _counter(
    "service.trace.dropped",
    "{span}",
    "Finished spans dropped because the collector did not keep up.",
)
BUILD = _gauge("service.build", "1", "Always 1; the labels tell the version.", labels=("version",))

# -- dashboards ---------------------------------------------------------------------------------

DASHBOARDS = _gauge("service.dashboard.connections", "{connection}", "Dashboards connected now.")
DASHBOARD_SENT = _counter("service.dashboard.sent", "{event}", "Events sent to dashboards.")
DASHBOARD_DROPPED = _counter(
    "service.dashboard.dropped", "{event}", "Events that slow dashboards missed and were told so."
)
DASHBOARD_SLOW = _counter(
    "service.dashboard.slow", "{connection}", "Dashboards disconnected for being too slow."
)

METRICS: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
"""Every metric above, in the order of this file."""
