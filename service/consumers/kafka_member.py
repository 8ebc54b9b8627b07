"""What a member of a consumer group holds at this moment, and whether it may still act on it.

The parts of the Kafka source share this object, and nothing else: the client that lives, the
partitions with their progress, and the lease.  It reads nothing and commits nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator

import structlog

from service.clock import loop_time_s
from service.consumers.base import ConsumerClient, SourceTracing, TopicPartition, Transactions
from service.consumers.kafka_opening import Opening
from service.consumers.kafka_options import KafkaSourceOptions
from service.consumers.kafka_partition import HeldPartition, Phase, SourcePartition
from service.consumers.kafka_refusals import Refusals
from service.consumers.room import RoomWanted
from service.delivery.budget import MemoryBudget
from service.delivery.lease import Lease
from service.delivery.offsets import PartitionOffsets
from service.delivery.quarantine import Quarantine
from service.events import RecordBatch
from service.metrics import PipelineCounters

log = structlog.get_logger(__name__)


class Member:
    """See the module.

    Args:
        name: The source's name in the configuration.
        budget: The pipeline's memory budget, shared by its sources.
        quarantine: What the process's partitions are suspected of, shared by all its sources.
        counters: The pipeline's counters.
        options: See :class:`KafkaSourceOptions`.
        opening: Opens partitions.
        tracing: Told of traced records.
        transactions: Commits positions together with results; ``None`` commits to the group.

    Attributes:
        client: The client that lives; ``None`` between two.
        held: Every partition that is, or was, assigned.
        assigned: The whole assignment.
        awaited: The last assignment, which is what a rebalance may bring back.
        ever_assigned: Whether the group has accepted this member at least once.
        lease: Whether the group has heard us recently enough.
        silent: Whether it has not, so that everything waits.
        rebalancing_since_s: ``loop.time()`` of the revocation that no assignment has followed.
        last_contact_s: ``loop.time()`` of the last sign of life of a broker.
        finished_since_commit: Records that have become durable since the last commit.
        room: Told of each batch that is done.
        refusals: Which topics may not be read.
        stopping: Nothing more is to be taken from Kafka.
    """

    def __init__(
        self,
        name: str,
        *,
        budget: MemoryBudget[TopicPartition],
        quarantine: Quarantine[SourcePartition],
        counters: PipelineCounters,
        options: KafkaSourceOptions,
        opening: Opening,
        tracing: SourceTracing,
        transactions: Transactions | None,
    ) -> None:
        self.name = name
        self.budget = budget
        self.quarantine = quarantine
        self.counters = counters
        self.options = options
        self.opening = opening
        self.tracing = tracing
        self.transactions = transactions
        self.client: ConsumerClient | None = None
        self.held: dict[TopicPartition, HeldPartition] = {}
        self.assigned: frozenset[TopicPartition] = frozenset()
        self.awaited: frozenset[TopicPartition] = frozenset()
        self.ever_assigned = False
        self.lease = Lease(options.session_timeout_s)
        self.silent = False
        self.rebalancing_since_s: float | None = None
        self.last_contact_s: float | None = None
        self.finished_since_commit = 0
        self.room = RoomWanted()
        self.refusals = Refusals()
        self.stopping = asyncio.Event()
        self._clock: Callable[[], float] | None = None

    def lease_valid(self) -> bool:
        """Whether the group has heard us recently enough that nobody else owns our partitions.

        The pipeline asks before it dispatches, before it publishes, and once more when a request is
        about to be written: after a long pause of the whole process, this is what keeps stale work
        from going out.  Everything waits until the next heartbeat is answered: it carries the
        generation, so an answer says that nobody was given our partitions meanwhile.
        """
        client = self.client
        if client is None:
            return False
        now_s = (self._clock or self._find_clock())()
        if now_s < self.lease.expires_at_s and self.assigned:
            return True  # whatever was heard since can only make it longer
        heard_at_s = client.health().last_heartbeat_at_s
        self.lease.renew(heard_at_s)
        valid = not self.assigned or self.lease.held(now_s)
        if valid is self.silent:
            self.silent = not valid
            if self.silent:
                silent_s = round(now_s - heard_at_s, 3)
                log.warning(
                    "no heartbeat answered, work waits", source=self.name, silent_s=silent_s
                )
            else:
                log.info("heartbeats are answered, work goes on", source=self.name)
        return valid

    def _find_clock(self) -> Callable[[], float]:
        """The loop's clock, looked for once: on Python 3.11 that is a system call each time."""
        self._clock = asyncio.get_running_loop().time
        return self._clock

    def current(self, held: HeldPartition, epoch: int) -> bool:
        """Whether what was read of ``held`` in ``epoch`` may still go into the channel."""
        # A batch that came in while a revoke waits would overtake what the revoke has held back.
        return (
            held.epoch == epoch
            and held.phase is Phase.RUNNING
            and not held.closing
            and not self.stopping.is_set()
            # to wait for a commit of what nobody may commit would hold up the others
            and not (self.refusals and self.refusals.resting(held.partition.topic))
        )

    def refused(self, topics: Iterable[str]) -> None:
        """The broker does not let us read ``topics``: they wait, and the others go on."""
        for topic in topics:
            if self.refusals.refused(topic, loop_time_s()):
                log.error(
                    "input topic may not be read", source=self.name, topic=topic, grant="READ"
                )

    def lose(self, partitions: Iterable[TopicPartition]) -> None:
        """Somebody else may have got ``partitions``: keep what is in hand until that is known.

        Not where progress is more than an offset: a transaction has ended with its producer, and
        what handlers remember is restored.
        """
        if self.transactions is not None or self.opening.keeps_state:
            self.drop(partitions)
            return
        for name in partitions:
            partition = self.held.get(name)
            if partition is not None and partition.phase is not Phase.REVOKED:
                partition.suspend()

    def abandon(self, partition: HeldPartition) -> None:
        """Drop what is left in hand of a partition that was lost."""
        self._give_back(partition.partition, partition.abandon())

    def _give_back(self, name: TopicPartition, batches: Iterable[RecordBatch]) -> None:
        for batch in batches:
            if batch.left:
                if self.tracing.active:
                    self.tracing.dropped(batch)
                self.budget.give_back(name, records=len(batch), size_bytes=batch.size_bytes)

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Let go: nothing of ``partitions`` is published or committed from here on."""
        for name in partitions:
            partition = self.held.get(name)
            if partition is None:
                continue
            self.abandon(partition)
            if partition.phase is Phase.REVOKED:
                continue
            self._give_back(name, partition.delivered.live)
            partition.revoke()
            self.opening.release(name)
            if self.transactions is not None:
                # what is known here may be part of a transaction that never commits
                partition.forget()

    def completed(self, batch: RecordBatch) -> None:
        """Every record of ``batch`` is done."""
        if batch.revoked:
            self.counters.stale_acks += 1
            return
        count = len(batch)
        name = TopicPartition(batch.topic, batch.partition)
        self.budget.give_back(name, records=count, size_bytes=batch.size_bytes)
        self.room.made(name)
        self.counters.acked += count
        self.counters.record_latency(loop_time_s() - batch.received_at_s, count)
        self.finished_since_commit += count
        if self.tracing.active:
            self.tracing.completed(batch)

    def uncommitted(self) -> list[str]:
        """Partitions with progress that the broker has not confirmed."""
        return [
            str(held.partition)
            for held, offsets in self._progress()
            if offsets.commit_due(held.acknowledged)
        ]

    def begin_nothing_more(self) -> None:
        """What runs may finish; what was read and has not begun is left to the next owner."""
        for held in self.held.values():
            held.close(finishing=True)

    @property
    def in_flight(self) -> int:
        """Records whose handling or publishing is under way."""
        return sum(
            held.delivered.in_flight
            for held in self.held.values()
            if held.phase is not Phase.REVOKED
        )

    def abandoned(self) -> list[str]:
        """Where handling has begun and not ended: the lowest such, ``topic/partition/offset``."""
        return [
            f"{held.partition}/{oldest.offset}"
            for held, offsets in self._progress()
            if (oldest := offsets.oldest_unfinished) is not None and held.delivered.anything_begun
        ]

    def returned(self) -> int:
        """Records that were read and are not durable, begun or not."""
        return sum(offsets.outstanding for _, offsets in self._progress())

    def _progress(self) -> Iterator[tuple[HeldPartition, PartitionOffsets]]:
        """Each partition that is ours and was prepared, and how far it is."""
        for held in self.held.values():
            if held.offsets is not None and held.phase is not Phase.REVOKED:
                yield held, held.offsets
