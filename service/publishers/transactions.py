"""Exactly once, Kafka to Kafka: one transactional producer per input partition.

What is published for the records of one input partition goes out in transactions of that
partition's producer, and the partition's committed position is part of the same transaction.  So
either a record's results and the position behind it both become visible, or neither.  Nothing
less gives this: with one producer for several partitions, a member that lost one of them could
still commit for it.

Within a partition handling stays concurrent.  A record is counted as done when its results are
in the queue of the next transaction, and that same transaction carries the position; when it
fails, the producer is discarded, everything of the partition is forgotten, and reading resumes
from the position that a new producer with the same id finds committed.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import structlog

from service.errors import FencedError, ServiceError, TransactionFailedError
from service.publishers.base import (
    BatchWriter,
    Row,
    TopicInfo,
    TransactionalClient,
)
from service.publishers.changelog import Changelog
from service.publishers.held_back import Addressed, HeldBack, LaneOf, Released, by_key
from service.publishers.kafka import KafkaPublisher
from service.publishers.output import OutputPartition
from service.publishers.runs import Entry, Run, count_by_owner
from service.publishers.shares import Room, Shares
from service.publishers.transaction_batches import SEND_TIMEOUT_S, send_outputs
from service.publishers.transaction_bound import TransactionBound

log = structlog.get_logger(__name__)

Partition = tuple[str, int]

QUEUED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Output waiting for its transaction at which publishing waits; less where that takes too long."""
STOP_TIMEOUT_S: Final = 2.0
PARTITIONS_MAX: Final = 32
"""Input partitions of one process beyond which the price, a client each, is worth a warning."""
_NO_DELAY_GROUPS: Final[Mapping[str, str]] = {}


class Position(Protocol):
    """What a transaction commits for its partition."""

    @property
    def next_offset(self) -> int:
        """The position."""
        ...

    @property
    def metadata(self) -> str:
        """The text beside it."""
        ...


class _Queue:
    """What one input partition has to publish, and the producer that may.

    Args:
        producer: The partition's.
        held: Results that are for a later transaction.  To the bound on queued output they must not
            count: the handler that they wait for could wait for room which only it can make.

    Attributes:
        outputs: The next transaction's records, in batches by topic and partition.
        records: How many these are.
        size_bytes: Their size.
        held: As given.
    """

    __slots__ = ("held", "outputs", "producer", "records", "size_bytes")

    def __init__(self, producer: TransactionalClient, held: HeldBack) -> None:
        self.producer = producer
        self.outputs: dict[Partition, OutputPartition] = {}
        self.records = 0
        self.size_bytes = 0
        self.held = held

    def output(self, topic: str, partition: int, limit_bytes: int) -> OutputPartition:
        """The batches of one output partition, each at most ``limit_bytes`` long."""
        output = self.outputs.get((topic, partition))
        if output is None:
            output = OutputPartition(topic, partition, limit_bytes)
            self.outputs[topic, partition] = output
        return output

    def begin_batch(self, output: OutputPartition) -> BatchWriter:
        """A new batch for ``output``."""
        del output
        return self.producer.new_batch()


class TransactionalPublisher:
    """Publishes for one pipeline, one transaction after the other per input partition.

    Has the part of :class:`~service.publishers.kafka.KafkaPublisher` that a writer uses.

    Args:
        shared: The process's publisher; knows the topics, and takes what no partition owns.
        make_producer: Builds a transactional client for an id.
        group: Consumer group; part of the transactional ids.
        delay_groups: The group in which a delay topic is read, by the topic.
        lane_of: Of which records the results keep their order.
    """

    def __init__(
        self,
        shared: KafkaPublisher,
        make_producer: Callable[[str], TransactionalClient],
        *,
        group: str,
        delay_groups: Mapping[str, str] = _NO_DELAY_GROUPS,
        lane_of: LaneOf = by_key,
    ) -> None:
        self._shared = shared
        self._lane_of = lane_of
        self._make_producer = make_producer
        self._group = group
        self._delay_groups = delay_groups
        self._queues: dict[Partition, _Queue] = {}
        self._changelogs: list[Changelog] = []
        self._shares = Shares(QUEUED_BYTES_MAX, 0)
        self._backlog = self._shares.of(group)
        self._bound = TransactionBound(QUEUED_BYTES_MAX, time_s=SEND_TIMEOUT_S)
        self._under_way_bytes = 0

    def include(self, changelog: Changelog) -> None:
        """Make the changes of ``changelog`` part of every transaction of their partition."""
        self._changelogs.append(changelog)

    # -- as a publisher ----------------------------------------------------------------------

    @property
    def topics(self) -> dict[str, TopicInfo]:
        """Output topics that are known."""
        return self._shared.topics

    async def learn(self, topic: str) -> None:
        """See :meth:`service.publishers.kafka.KafkaPublisher.learn`."""
        await self._shared.learn(topic)

    def max_record_bytes(self, topic: str) -> int:
        """See :meth:`service.publishers.kafka.KafkaPublisher.max_record_bytes`."""
        return self._shared.max_record_bytes(topic)

    def partition_for(self, topic: str, key: bytes | None, spare: int) -> int:
        """See :meth:`service.publishers.kafka.KafkaPublisher.partition_for`."""
        return self._shared.partition_for(topic, key, spare)

    def partitions_for(self, topic: str, keys: Sequence[bytes | None], spare: int) -> Sequence[int]:
        """See :meth:`service.publishers.kafka.KafkaPublisher.partitions_for`."""
        return self._shared.partitions_for(topic, keys, spare)

    def add(self, topic: str, partition: int, entry: Entry) -> None:
        """Queue one record for the next transaction of its input partition.

        The results of a record that several handlers work on are held back until the last of
        them has finished, so that one transaction has all of them; see :class:`HeldBack`.
        """
        batch = entry.batch
        queue = self._queues.get((batch.topic, batch.partition))
        if queue is None:
            # a timer's result, which belongs to no partition
            self._shared.add(topic, partition, entry)
            return
        run = Run(batch, [entry.place], entry.owner, failed=entry.failed)
        row = (entry.timestamp_ms, entry.key, entry.value, list(entry.headers))
        self._add(queue, Addressed(topic, partition, run, [row]))

    def add_run(self, topic: str, partition: int, run: Run, rows: Sequence[Row]) -> None:
        """:meth:`add` for each of ``rows``."""
        queue = self._queues.get((run.batch.topic, run.batch.partition))
        if queue is None:
            self._shared.add_run(topic, partition, run, rows)
            return
        self._add(queue, Addressed(topic, partition, run, rows))

    def _add(self, queue: _Queue, output: Addressed) -> None:
        run = output.run
        if run.failed:
            for place in run.places:
                run.batch.dead_lettered(place)
        self._take(queue, queue.held.add(output))

    def _take(self, queue: _Queue, released: Released) -> None:
        """Make records part of the next transaction that wait for nothing."""
        for topic, partition, run, rows in released.outputs:
            self._put(queue, topic, partition, run, rows)
        for batch, places in released.done:
            batch.ack_many(places)

    def _put(
        self, queue: _Queue, topic: str, partition: int, run: Run, rows: Sequence[Row]
    ) -> None:
        """Make records part of the next transaction."""
        output = queue.output(topic, partition, self._shared.batch_bytes(topic))
        size_bytes = output.add(run, rows, queue.begin_batch)
        queue.records += len(rows)
        queue.size_bytes += size_bytes
        self._backlog.add(len(rows), size_bytes)

    def added(self, *, urgent: bool) -> None:
        """A run of :meth:`add` calls has ended."""
        self._shared.added(urgent=urgent)
        self._shares.look()

    @property
    def full(self) -> bool:
        """Whether :meth:`room` would wait."""
        return self._shares.full

    @property
    def tight(self) -> bool:
        """Whether transactions have run out of time: then no more at once than has to be."""
        return self._bound.lowered

    def room(self) -> Room:
        """Awaited, waits until no more is queued than may be.  Cancel safe."""
        return self._shares.room()

    # -- as the committer of a source --------------------------------------------------------

    async def open(self, partition: Partition, charge: Callable[[int], object]) -> None:
        """Start the partition's producer, which ends what an earlier one left open.

        The committed position must be read after this, or it may be an older one.

        Args:
            partition: The input partition.
            charge: Told how many bytes more, or fewer, wait in memory for another handler of
                their record.

        Raises:
            BrokerUnavailableError: If no broker answers in time.
        """
        await self.close([partition])
        topic, number = partition
        # A topic has no slash in its name.  Joined by hyphens, a and b-c would share their ids with
        # a-b and c, and fence each other.
        producer = self._make_producer(f"{self._group}/{topic}/{number}")
        await producer.start()
        self._queues[partition] = _Queue(producer, HeldBack(charge, self._lane_of))
        if len(self._queues) == PARTITIONS_MAX + 1:
            log.warning("many transactional producers", partitions=len(self._queues))

    async def close(self, partitions: Collection[Partition]) -> None:
        """Discard what is queued for ``partitions`` and stop their producers.  Never raises."""
        producers = [
            queue.producer
            for partition in partitions
            if (queue := self._discard(partition)) is not None
        ]
        await asyncio.gather(*(producer.stop(STOP_TIMEOUT_S) for producer in producers))

    def _discard(self, partition: Partition) -> _Queue | None:
        queue = self._queues.pop(partition, None)
        if queue is not None:
            self._backlog.settle(queue.records, queue.size_bytes)
            queue.held.discard()
        return queue

    async def commit(self, partition: Partition, position: Callable[[], Position | None]) -> bool:
        """Publish what is queued for ``partition`` and commit its position, in one transaction.

        Args:
            partition: An open partition.
            position: Gives what to commit, ``None`` if nothing moved; called in the same step in
                which the queue is taken.

        Returns:
            Whether anything was committed: nothing is if there was nothing to do, or if a
            handler's state is ahead of its results just now.

        Raises:
            TransactionFailedError: If it is not certain that it was committed; the partition has
                to be closed and opened again.
            FencedError: If another member owns the partition's id by now.
        """
        queue = self._queues.get(partition)
        if queue is None:
            raise TransactionFailedError(f"{partition[0]}/{partition[1]} has no producer")
        # also those whose last handler had nothing to add, of which nobody has told us
        self._take(queue, queue.held.release())
        if not all(changelog.quiet for changelog in self._changelogs):
            return False  # the state is ahead of the results: a moment later it is not
        due = position()
        for changelog in self._changelogs:
            for topic, number, run, rows in changelog.take(partition):
                self._put(queue, topic, number, run, rows)
        if due is None and not queue.outputs:
            return False
        outputs, records, size_bytes = queue.outputs, queue.records, queue.size_bytes
        queue.outputs, queue.records, queue.size_bytes = {}, 0, 0
        began_s = asyncio.get_running_loop().time()
        self._under_way_bytes += size_bytes
        try:
            sent = await self._send(queue.producer, partition, due, outputs.values(), began_s)
        except FencedError:
            raise
        except (ServiceError, TimeoutError) as exc:
            await queue.producer.abort()
            reason = str(exc) or f"no answer within {SEND_TIMEOUT_S:g} s"
            raise TransactionFailedError(f"{partition[0]}/{partition[1]}: {reason}") from exc
        finally:
            self._under_way_bytes -= size_bytes
            self._shares.bound(self._bound.size_bytes)
            self._backlog.settle(records, size_bytes)
        self._tell_owners(sent, began_s)
        return True

    async def _send(
        self,
        producer: TransactionalClient,
        partition: Partition,
        due: Position | None,
        outputs: Collection[OutputPartition],
        began_s: float,
    ) -> Mapping[str, list[Run]]:
        """One transaction, from its beginning to its commit; returns what was sent, by topic.

        Raises:
            FencedError: If another member owns the partition's id by now.
            ServiceError: If it is not certain that it was committed.
            TimeoutError: If the results have taken too long.
        """
        bound, clock = self._bound, asyncio.get_running_loop().time
        await producer.begin()
        try:
            sent = await send_outputs(
                producer, outputs, self._shared.takes_less, fits=self._shared.fits
            )
        except TimeoutError:
            bound.ran_out(self._under_way_bytes, began_s=began_s, now_s=clock())
            log.warning("transaction ran out of time", next_bytes=bound.size_bytes)
            raise
        if due is not None:
            positions = {partition: (due.next_offset, due.metadata)}
            group = self._delay_groups.get(partition[0], self._group)
            await producer.send_offsets(group, positions)
        await producer.commit()
        bound.ended(self._under_way_bytes, took_s=clock() - began_s)
        return sent

    def _tell_owners(self, sent: Mapping[str, list[Run]], began_s: float) -> None:
        """Tell the writers what has become visible."""
        for topic, runs in sent.items():
            for owner, count in count_by_owner(runs).items():
                owner.stored(topic, runs, count, since_s=began_s)
