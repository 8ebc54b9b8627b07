"""Every metric of the service: its name, unit, kind, labels and what it says.

The one place where a metric is declared.  Instruments, ``/metrics``, ``docs/metrics.md``, the
dashboard and the alert rules use these names, and a test fails when one of them uses another.
Names are those of the OpenTelemetry semantic conventions (messaging) where those have one, and
start with ``service.`` where they do not.  How a value is read is not known here.
"""

from service.metrics.metric import Kind, Metric

PIPELINE = "service.pipeline"
HANDLER = "service.handler"
CODE = "error.type"
OPERATION = "messaging.operation.name"
STAGE = "service.stage"
CAUSE = "service.cause"
TOPIC = "topic"
PARTITION = "partition"
GROUP = "group"
STATE = "state"

_PIPELINE = (PIPELINE,)
_HANDLER = (PIPELINE, HANDLER)
_PARTITION = (PIPELINE, GROUP, TOPIC, PARTITION)

# -- what flows ---------------------------------------------------------------------------------

CONSUMED = Metric(
    name="messaging.client.consumed.messages",
    unit="{message}",
    kind=Kind.COUNTER,
    about="Records that entered a pipeline, from all of its sources.",
    labels=_PIPELINE,
    constant=((OPERATION, "poll"),),
)
CONSUMED_BYTES = Metric(
    name="service.consumed.bytes",
    unit="By",
    kind=Kind.COUNTER,
    about="Bytes of the keys, values and headers of those records.",
    labels=_PIPELINE,
)
BATCHES = Metric(
    name="service.consumed.batches",
    unit="{batch}",
    kind=Kind.COUNTER,
    about="Record batches they came in.",
    labels=_PIPELINE,
)
SENT = Metric(
    name="messaging.client.sent.messages",
    unit="{message}",
    kind=Kind.COUNTER,
    about="Results that their output topic has acknowledged.",
    labels=_PIPELINE,
    constant=((OPERATION, "send"),),
)
ACKED = Metric(
    name="service.acknowledged.records",
    unit="{record}",
    kind=Kind.COUNTER,
    about="Records whose every effect is durable, so that their offset may be committed.",
    labels=_PIPELINE,
)
DEAD_LETTERS = Metric(
    name="service.dead_letter.records",
    unit="{record}",
    kind=Kind.COUNTER,
    about="Records published to the dead-letter topic, by error code.",
    labels=(PIPELINE, CODE),
)
DROPPED = Metric(
    name="service.dropped.events",
    unit="{message}",
    kind=Kind.COUNTER,
    about="Incoming messages that the channel's overflow policy refused or threw away.",
    labels=_PIPELINE,
)
PUBLISH_FAILURES = Metric(
    name="service.publish.failures",
    unit="{request}",
    kind=Kind.COUNTER,
    about="Produce requests that failed for good and were sent again by another producer; what the "
    "client tries again by itself is not counted.",
    labels=_PIPELINE,
)

OPERATION_DURATION = Metric(
    name="messaging.client.operation.duration",
    unit="s",
    kind=Kind.HISTOGRAM,
    about="Time from a produce or commit request to its answer.",
    labels=(PIPELINE, OPERATION),
)

# -- handlers -----------------------------------------------------------------------------------

PROCESS_DURATION = Metric(
    name="messaging.process.duration",
    unit="s",
    kind=Kind.HISTOGRAM,
    about="Duration of one attempt of a handler.",
    labels=_HANDLER,
    constant=((OPERATION, "process"),),
)
HANDLED = Metric(
    name="service.handler.events",
    unit="{event}",
    kind=Kind.COUNTER,
    about="Events that a handler finished, whatever came of them.",
    labels=_HANDLER,
)
HANDLER_FAILURES = Metric(
    name="service.handler.failures",
    unit="{attempt}",
    kind=Kind.COUNTER,
    about="Attempts of a handler that raised or ran out of time.",
    labels=_HANDLER,
)
HANDLER_TIMEOUTS = Metric(
    name="service.handler.timeouts",
    unit="{attempt}",
    kind=Kind.COUNTER,
    about="Attempts of a handler that ran out of time.",
    labels=_HANDLER,
)
RETRIES = Metric(
    name="service.handler.retries",
    unit="{attempt}",
    kind=Kind.COUNTER,
    about="Attempts of a handler after the first.",
    labels=_HANDLER,
)
RUNNING = Metric(
    name="service.handler.running",
    unit="{event}",
    kind=Kind.GAUGE,
    about="Calls of a handler that are running now.",
    labels=_HANDLER,
)
PARKED = Metric(
    name="service.handler.parked",
    unit="{event}",
    kind=Kind.GAUGE,
    about="Events that wait for their next attempt now.",
    labels=_HANDLER,
)

STATE_KEYS = Metric(
    name="service.state.keys",
    unit="{key}",
    kind=Kind.GAUGE,
    about="Keys that a handler remembers now.",
    labels=_HANDLER,
)
STATE_EVICTED = Metric(
    name="service.state.evicted",
    unit="{key}",
    kind=Kind.GAUGE,
    about="Keys forgotten for want of room (max_keys), in the partitions held now.",
    labels=_HANDLER,
)
STATE_DAMAGED = Metric(
    name="service.state.damaged",
    unit="{key}",
    kind=Kind.GAUGE,
    about="Keys forgotten because their stored value could not be decoded, in the partitions "
    "held now.",
    labels=_HANDLER,
)
CHANGELOG_LAG = Metric(
    name="service.state.changelog.lag",
    unit="{key}",
    kind=Kind.GAUGE,
    about="Changed keys whose value is not durable in the changelog yet.",
    labels=_HANDLER,
)
STATE_RESTORED = Metric(
    name="service.state.restored",
    unit="{record}",
    kind=Kind.COUNTER,
    about="Changelog records read back when partitions were assigned.",
    labels=_HANDLER,
)
RESTORE_LEFT = Metric(
    name="service.state.restore.left",
    unit="{record}",
    kind=Kind.GAUGE,
    about="Changelog records that a restore has yet to read; 0 while there is none.",
    labels=_HANDLER,
)
RESTORE_DURATION = Metric(
    name="service.state.restore.duration",
    unit="s",
    kind=Kind.GAUGE,
    about="Duration of the latest restore of a partition's state.",
    labels=_HANDLER,
)

# -- time ---------------------------------------------------------------------------------------

LATENCY = Metric(
    name="service.record.latency",
    unit="s",
    kind=Kind.HISTOGRAM,
    about="Time from a record's fetch to its acknowledgement.",
    labels=_PIPELINE,
)
STAGE_TIME = Metric(
    name="service.stage.time",
    unit="s",
    kind=Kind.COUNTER,
    about="Time spent in poll, normalize, handle, publish and backpressure.",
    labels=(PIPELINE, STAGE),
)

# -- what waits ---------------------------------------------------------------------------------

IN_FLIGHT = Metric(
    name="service.in_flight.records",
    unit="{record}",
    kind=Kind.GAUGE,
    about="Records taken in and not yet acknowledged.",
    labels=_PIPELINE,
)
CHANNEL_DEPTH = Metric(
    name="service.channel.depth",
    unit="{record}",
    kind=Kind.GAUGE,
    about="Records in the channel between the sources and the pipeline.",
    labels=_PIPELINE,
)
CHANNEL_PEAK = Metric(
    name="service.channel.peak",
    unit="{record}",
    kind=Kind.GAUGE,
    about="Most records that the channel ever held.",
    labels=_PIPELINE,
)
CHANNEL_CAPACITY = Metric(
    name="service.channel.capacity",
    unit="{record}",
    kind=Kind.GAUGE,
    about="Most records that the channel may hold.",
    labels=_PIPELINE,
)
CHANNEL_BYTES = Metric(
    name="service.channel.size",
    unit="By",
    kind=Kind.GAUGE,
    about="Bytes in the channel between the sources and the pipeline.",
    labels=_PIPELINE,
)

# -- partitions and commits ---------------------------------------------------------------------

LAG = Metric(
    name="kafka.consumer_group.lag",
    unit="{message}",
    kind=Kind.GAUGE,
    about="Records between the committed position of a partition and its end.",
    labels=_PARTITION,
)
LAG_TIME = Metric(
    name="service.partition.lag",
    unit="s",
    kind=Kind.GAUGE,
    about="Age of the oldest record of a partition that is not committed; in a delay topic from "
    "when it was due.",
    labels=_PARTITION,
)
PARTITION_IN_FLIGHT = Metric(
    name="service.partition.in_flight",
    unit="{record}",
    kind=Kind.GAUGE,
    about="Records of a partition taken in and not yet acknowledged.",
    labels=_PARTITION,
)
OLDEST_IN_FLIGHT = Metric(
    name="service.partition.oldest_in_flight",
    unit="s",
    kind=Kind.GAUGE,
    about="How long the oldest of them has been with the service.",
    labels=_PARTITION,
)
COMMIT_AGE = Metric(
    name="service.partition.commit_age",
    unit="s",
    kind=Kind.GAUGE,
    about="Time without a commit while something of a partition waits to be committed.",
    labels=_PARTITION,
)
BLOCKED = Metric(
    name="service.partition.blocked",
    unit="1",
    kind=Kind.GAUGE,
    about="1 while a partition's commit is held back, by what holds it.",
    labels=(*_PARTITION, CAUSE),
)
COMMITS = Metric(
    name="service.commits",
    unit="{commit}",
    kind=Kind.COUNTER,
    about="Offset commits that the broker accepted.",
    labels=_PIPELINE,
)
COMMIT_FAILURES = Metric(
    name="service.commit.failures",
    unit="{commit}",
    kind=Kind.COUNTER,
    about="Offset commits that the broker refused or did not answer.",
    labels=_PIPELINE,
)
REBALANCES = Metric(
    name="service.rebalances",
    unit="{rebalance}",
    kind=Kind.COUNTER,
    about="Assignments received from the consumer group.",
    labels=_PIPELINE,
)
OFFSET_RESETS = Metric(
    name="service.offset.resets",
    unit="{reset}",
    kind=Kind.COUNTER,
    about="Positions that were no longer in the log, so that the out-of-range policy was applied.",
    labels=_PIPELINE,
)
STALE_ACKS = Metric(
    name="service.stale.acknowledgements",
    unit="{record}",
    kind=Kind.COUNTER,
    about="Acknowledgements of a revoked assignment, which are ignored.",
    labels=_PIPELINE,
)

REPLICAS_DESIRED = Metric(
    name="service.replicas.desired",
    unit="{replica}",
    kind=Kind.GAUGE,
    about="Replicas, of `workers` processes each, that the load of this process's partitions keeps "
    "busy; the sum over all processes, rounded up, is how many the pipeline needs.",
    labels=_PIPELINE,
)

# -- the process --------------------------------------------------------------------------------

LOOP_LAG = Metric(
    name="service.loop.lag",
    unit="s",
    kind=Kind.GAUGE,
    about="Longest delay of a due timer of the event loop in the last ten seconds.",
)
LOOP_BLOCKS = Metric(
    name="service.loop.blocks",
    unit="{incident}",
    kind=Kind.COUNTER,
    about="Times that something blocked the event loop for longer than the watchdog allows.",
)
READY = Metric(
    name="service.ready",
    unit="1",
    kind=Kind.GAUGE,
    about="1 while the readiness probe succeeds.",
)
PHASE = Metric(
    name="service.phase",
    unit="1",
    kind=Kind.GAUGE,
    about="1 for the phase of life that the process is in, 0 for the others.",
    labels=(STATE,),
)
BROKER_SILENCE = Metric(
    name="service.broker.silence",
    unit="s",
    kind=Kind.GAUGE,
    about="Time since a broker last answered anything.",
)
LOGS_DROPPED = Metric(
    name="service.log.dropped",
    unit="{line}",
    kind=Kind.COUNTER,
    about="Log lines dropped because the output was blocked.",
)
SPANS_DROPPED = Metric(
    name="service.trace.dropped",
    unit="{span}",
    kind=Kind.COUNTER,
    about="Finished spans dropped because the collector did not keep up.",
)
BUILD = Metric(
    name="service.build",
    unit="1",
    kind=Kind.GAUGE,
    about="Always 1; the labels tell the version.",
    labels=("version",),
)

# -- dashboards ---------------------------------------------------------------------------------

DASHBOARDS = Metric(
    name="service.dashboard.connections",
    unit="{connection}",
    kind=Kind.GAUGE,
    about="Dashboards connected now.",
)
DASHBOARD_SENT = Metric(
    name="service.dashboard.sent",
    unit="{event}",
    kind=Kind.COUNTER,
    about="Events sent to dashboards.",
)
DASHBOARD_DROPPED = Metric(
    name="service.dashboard.dropped",
    unit="{event}",
    kind=Kind.COUNTER,
    about="Events that slow dashboards missed and were told so.",
)
DASHBOARD_SLOW = Metric(
    name="service.dashboard.slow",
    unit="{connection}",
    kind=Kind.COUNTER,
    about="Dashboards disconnected for being too slow.",
)

METRICS: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
"""Every metric above, in the order of this file."""
