"""The facts of this moment, gathered from the parts that know them."""

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from service.app.build import BuiltPipeline
from service.app.chains import behind, find_call
from service.clock import wall_clock_ms
from service.consumers.kafka import KafkaSource
from service.consumers.kafka_partition import HeldPartition, Phase
from service.delivery.delays import not_before_ms
from service.delivery.offsets import Unfinished
from service.events import Record, RecordBatch
from service.health.standstill import Standstill
from service.health.stuck import HELD_S, PartitionFacts, RecordFacts, RecordState, blocking
from service.metrics import ChannelStatus, PartitionStatus, PipelineStatus, ServiceStatus
from service.metrics import Phase as ServicePhase
from service.settings import PipelineSourceSettings

if TYPE_CHECKING:
    from service.app.application import Application

REBALANCE_PATIENCE_S: Final = 60.0
"""A rebalance may take this long before the silence of the brokers counts."""


def snapshot(application: "Application") -> ServiceStatus:
    """See :class:`service.metrics.StatusSource`."""
    now_s = asyncio.get_running_loop().time()
    silent_s = max(
        (
            _silent_s(source, application.started_at_s, now_s)
            for source in application.kafka_sources
        ),
        default=0.0,
    )
    phase = application.phase
    if phase is ServicePhase.RUNNING and not _reached(application):
        phase = ServicePhase.STARTING
    return ServiceStatus(
        phase=phase,
        pipelines={
            name: _pipeline(application, built, silent_s, now_s)
            for name, built in application.pipelines.items()
        },
        broker_silent_s=silent_s,
        dashboards=0 if application.edge is None else application.edge.counters.connections,
    )


def _reached(application: "Application") -> bool:
    """Whether a producer was up and the group of each source has accepted us, at least once.

    Until then nothing shows that addresses, secrets and rights are right, and a new pod that
    called itself ready would let a rolling update end the old one.
    """
    return application.publisher.ever_connected and all(
        source.ever_accepted for source in application.kafka_sources
    )


def _silent_s(source: KafkaSource, started_at_s: float, now_s: float) -> float:
    """Time without a sign of life of a broker.

    While the group waits for other members a broker says nothing, and that is no fault of its.
    """
    if 0 < source.rebalancing_s() <= REBALANCE_PATIENCE_S:
        return 0.0
    last_s = source.last_contact_s
    return max(0.0, now_s - (started_at_s if last_s is None else last_s))


class _Look(NamedTuple):
    """One look at one pipeline.

    Attributes:
        built: The pipeline.
        standstill: Remembers how long the record in front of each partition has been there.
        now_s: When.
        broker_silent_s: Time without a sign of life of a broker.
        publish_pending_s: Age of the oldest result that a broker has not acknowledged.
    """

    built: BuiltPipeline
    standstill: Standstill
    now_s: float
    broker_silent_s: float
    publish_pending_s: float


def _pipeline(
    application: "Application", built: BuiltPipeline, silent_s: float, now_s: float
) -> PipelineStatus:
    counters = built.counters
    reading = built.meter.read(now_s)
    channel = built.pipeline.inbox.statistics()
    look = _Look(
        built,
        application.standstill,
        now_s,
        broker_silent_s=silent_s,
        publish_pending_s=application.publisher.oldest_pending_s(_of_others(application, built)),
    )
    partitions = tuple(
        _partition(look, source, held)
        for source in built.kafka_sources
        for held in source.partitions
    )
    return PipelineStatus(
        rate_in=reading.rate_in,
        rate_out=reading.rate_out,
        latency_ms=reading.latency_ms,
        dead_letters=dict(counters.dead_letters),
        channel=ChannelStatus(
            depth=channel.depth,
            peak=channel.peak,
            capacity=channel.capacity or 0,
            bytes=channel.buffered_bytes,
        ),
        dropped=channel.rejected_count
        + channel.dropped_newest_count
        + channel.dropped_oldest_count,
        partitions=partitions,
        in_flight=built.pipeline.in_flight + sum(each.in_flight for each in partitions),
        running={
            dispatcher.name: len(dispatcher.calls.running) for dispatcher in built.dispatchers
        },
        parked=counters.parked,
        fed_by=tuple(
            dict.fromkeys(
                source.name
                for source in built.settings.sources.values()
                if isinstance(source, PipelineSourceSettings)
            )
        ),
        # One process of several is that part of a replica, which is what an autoscaler adds.
        replicas_desired=built.demand.observe(
            now_s,
            acked=counters.acked,
            lag=_lag(built),
            lag_s=max((partition.lag_s for partition in partitions), default=0.0),
            partitions={(each.group, each.topic, each.partition) for each in partitions},
        )
        / application.settings.workers,
    )


def _of_others(application: "Application", built: BuiltPipeline) -> set[str]:
    """Topics that neither ``built`` writes to nor what it feeds, but another pipeline does."""
    own = built.writes.union(*(each.writes for each in behind(built)))
    return set[str]().union(*(each.writes for each in application.pipelines.values())) - own


def _lag(built: BuiltPipeline) -> int | None:
    """What is stored and not durable here; ``None`` while nobody knows it of some partition."""
    lags = [source.lag(held) for source in built.kafka_sources for held in source.partitions]
    known = [lag for lag in lags if lag is not None]
    return sum(known) if len(known) == len(lags) else None


def _partition(look: _Look, source: KafkaSource, held: HeldPartition) -> PartitionStatus:
    now_s = look.now_s
    offsets = None if held.phase is Phase.REVOKED else held.offsets
    oldest = None if offsets is None else offsets.oldest_unfinished
    age_s = lag_s = 0.0
    record: RecordFacts | None = None
    front_s = look.standstill.look(held.name, None if oldest is None else oldest.offset, now_s)
    if oldest is not None:
        age_s = now_s - oldest.batch.received_at_s
        due_ms = _due_ms(look.built, held, oldest.batch.records[oldest.index])
        lag_s = max(0.0, (wall_clock_ms() - due_ms) / 1000)
        record = _record(look, oldest, age_s)
    commit_due = offsets is not None and offsets.commit_due(held.acknowledged)
    since_s = held.committed_at_s or held.assigned_at_s
    commit_age_s = 0.0
    if commit_due or oldest is not None:
        # Not simply since the last commit: after an idle hour the next record is not late at once.
        commit_age_s = min(now_s - since_s, max(age_s, source.commit_failing_s()))
    paused = held.phase is Phase.HALTED
    facts = PartitionFacts(
        oldest=record,
        broker_silent_s=look.broker_silent_s,
        publish_pending_s=look.publish_pending_s,
        commit_failing_s=source.commit_failing_s(),
        intake_blocked_s=source.intake_blocked_s(),
        rebalancing_s=source.rebalancing_s(),
        restoring_s=source.restoring_s(held),
        paused=paused,
        forbidden=source.refused(held),
    )
    return PartitionStatus(
        topic=held.partition.topic,
        partition=held.partition.partition,
        group=source.group,
        lag=source.lag(held) or 0,
        lag_s=lag_s,
        in_flight=0 if offsets is None else offsets.outstanding,
        oldest_in_flight_s=age_s,
        commit_age_s=commit_age_s,
        paused=paused,
        blocking=blocking(facts),
        stands_still=front_s > HELD_S,
    )


def _due_ms(built: BuiltPipeline, held: HeldPartition, record: Record) -> int:
    """When a record could be handled first, in ms since the epoch.

    What was told to wait in a delay topic is no sign that this process does not keep up.
    """
    delayed = held.partition.topic in built.settings.delay_topics
    return max(record.timestamp, not_before_ms(record.headers)) if delayed else record.timestamp


def _record(look: _Look, oldest: Unfinished, age_s: float) -> RecordFacts:
    """Where the oldest record is: running, parked, being published, or waiting for its turn."""
    built, batch, index = look.built, oldest.batch, oldest.index
    state, state_s, handler, attempts = RecordState.WAITING, age_s, None, 0
    found = find_call(built, batch, index)
    if found is not None:
        handler, (call_state, since_s, attempts) = found
        state, state_s = RecordState(call_state.value), look.now_s - since_s
    elif _has_begun(batch, index) and not any(map(_has_waiting, (built, *behind(built)))):
        state = RecordState.PUBLISHING
    return RecordFacts(
        offset=oldest.offset,
        age_s=age_s,
        state=state,
        state_s=state_s,
        key=batch.records[index].key,
        handler=handler,
        attempts=attempts,
    )


def _has_begun(batch: RecordBatch, index: int) -> bool:
    return bool(batch.dispatched if batch.begun is None else batch.begun[index])


def _has_waiting(built: BuiltPipeline) -> bool:
    """Whether calls wait for a slot or a lane, so that an idle record may be one of them."""
    return any(dispatcher.calls.running for dispatcher in built.dispatchers)
