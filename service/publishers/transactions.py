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
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

import structlog

from service.errors import FencedError, ServiceError, TransactionFailedError
from service.publishers.base import (
    ProduceFailedError,
    Row,
    TopicInfo,
    TransactionalClient,
)
from service.publishers.changelog import Changelog
from service.publishers.kafka import KafkaPublisher
from service.publishers.output import Entry, Run, count_by_owner, record_size

log = structlog.get_logger(__name__)

Partition = tuple[str, int]

QUEUED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Output waiting for its transaction at which publishing waits."""
SEND_TIMEOUT_S: Final = 20.0
"""Longest wait for the broker's answers inside one transaction, below its own timeout."""
STOP_TIMEOUT_S: Final = 2.0
PARTITIONS_MAX: Final = 32
"""Input partitions of one process beyond which the price, a client each, is worth a warning."""


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
    """What one input partition has to publish, and the producer that may."""

    __slots__ = ("entries", "producer", "size_bytes", "staged")

    def __init__(self) -> None:
        self.producer: TransactionalClient | None = None
        self.entries: list[tuple[str, int, Entry]] = []
        self.size_bytes = 0
        self.staged: dict[tuple[int, int], list[tuple[str, int, Entry]]] = {}


class TransactionalPublisher:
    """Publishes for one pipeline, one transaction after the other per input partition.

    Has the part of :class:`~service.publishers.kafka.KafkaPublisher` that a writer uses.

    Args:
        shared: The process's publisher; knows the topics, and takes what no partition owns.
        make_producer: Builds a transactional client for an id.
        group: Consumer group; part of the transactional ids.
    """

    def __init__(
        self,
        shared: KafkaPublisher,
        make_producer: Callable[[str], TransactionalClient],
        *,
        group: str,
    ) -> None:
        self._shared = shared
        self._make_producer = make_producer
        self._group = group
        self._queues: dict[Partition, _Queue] = {}
        self._changelogs: list[Changelog] = []
        self._size_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self.published = 0

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
        them has finished, so that one transaction has all of them.
        """
        batch, place = entry.batch, entry.place
        queue = self._queues.get((batch.topic, batch.partition))
        if queue is None:
            # a timer's result, which belongs to no partition
            self._shared.add(topic, partition, entry)
            return
        addressed = (topic, partition, entry)
        last = batch.pending is None or batch.pending[place] <= 1
        if last and not queue.staged:
            queue.entries.append(addressed)
        else:
            queue.staged.setdefault((id(batch), place), []).append(addressed)
            if last:
                queue.entries.extend(queue.staged.pop((id(batch), place)))
        size = record_size(entry.key, entry.value, entry.headers)
        queue.size_bytes += size
        self._size_bytes += size
        if entry.failed:
            batch.dead_lettered(place)
        batch.ack(place)

    def add_run(self, topic: str, partition: int, run: Run, rows: Sequence[Row]) -> None:
        """:meth:`add` for each of ``rows``."""
        for place, (timestamp_ms, key, value, headers) in zip(run.places, rows, strict=True):
            self.add(
                topic,
                partition,
                Entry(timestamp_ms, key, value, headers, run.batch, place, run.owner, run.failed),
            )

    def added(self, *, urgent: bool) -> None:
        """A run of :meth:`add` calls has ended."""
        self._shared.added(urgent=urgent)
        if self._size_bytes > QUEUED_BYTES_MAX:
            self._room.clear()

    @property
    def full(self) -> bool:
        """Whether :meth:`room` would wait."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Wait until less than :data:`QUEUED_BYTES_MAX` is queued.  Cancel safe."""
        await self._room.wait()

    # -- as the committer of a source --------------------------------------------------------

    async def open(self, partition: Partition) -> None:
        """Start the partition's producer, which ends what an earlier one left open.

        The committed position must be read after this, or it may be an older one.

        Raises:
            BrokerUnavailableError: If no broker answers in time.
        """
        await self.close([partition])
        topic, number = partition
        producer = self._make_producer(f"{self._group}-{topic}-{number}")
        await producer.start()
        queue = self._queues[partition] = _Queue()
        queue.producer = producer
        if len(self._queues) == PARTITIONS_MAX + 1:
            log.warning("many transactional producers", partitions=len(self._queues))

    async def close(self, partitions: Collection[Partition]) -> None:
        """Discard what is queued for ``partitions`` and stop their producers.  Never raises."""
        producers = [
            queue.producer
            for partition in partitions
            if (queue := self._discard(partition)) is not None and queue.producer is not None
        ]
        await asyncio.gather(*(producer.stop(STOP_TIMEOUT_S) for producer in producers))

    def _discard(self, partition: Partition) -> _Queue | None:
        queue = self._queues.pop(partition, None)
        if queue is not None:
            self._freed(queue.size_bytes)
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
        if queue is None or queue.producer is None:
            raise TransactionFailedError(f"{partition[0]}/{partition[1]} has no producer")
        self._unstage(queue)
        if not all(changelog.quiet for changelog in self._changelogs):
            return False  # the state is ahead of the results: a moment later it is not
        due = position()
        changes = [change for changelog in self._changelogs for change in changelog.take(partition)]
        entries, size_bytes = [*queue.entries, *changes], queue.size_bytes
        if due is None and not entries:
            return False
        queue.entries, queue.size_bytes = [], 0
        producer = queue.producer
        began_s = asyncio.get_running_loop().time()
        try:
            await producer.begin()
            await self._send(producer, entries)
            if due is not None:
                positions = {partition: (due.next_offset, due.metadata)}
                await producer.send_offsets(self._group, positions)
            await producer.commit()
        except FencedError:
            raise
        except (ServiceError, TimeoutError) as exc:
            await producer.abort()
            raise TransactionFailedError(f"{partition[0]}/{partition[1]}: {exc}") from exc
        finally:
            self._freed(size_bytes)
        self.published += len(entries)
        _tell_owners(entries, began_s)
        return True

    def _unstage(self, queue: _Queue) -> None:
        """Take over results of records whose last handler had nothing to add."""
        finished = [
            key for key, held in queue.staged.items() if held[0][2].batch.done[held[0][2].place]
        ]
        for key in finished:
            queue.entries.extend(queue.staged.pop(key))

    async def _send(
        self, producer: TransactionalClient, entries: list[tuple[str, int, Entry]]
    ) -> None:
        """Send ``entries`` in order and check every single answer.

        The client commits a transaction although a batch of it failed, so an unchecked answer
        would be a lost result.
        """
        by_output: defaultdict[tuple[str, int], list[Entry]] = defaultdict(list)
        for topic, partition, entry in entries:
            by_output[topic, partition].append(entry)
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await asyncio.gather(
                *(
                    self._send_output(producer, topic, partition, output)
                    for (topic, partition), output in by_output.items()
                )
            )

    async def _send_output(
        self, producer: TransactionalClient, topic: str, partition: int, entries: list[Entry]
    ) -> None:
        writer = producer.new_batch()
        for entry in entries:
            timestamp_ms, key, value, headers = entry[:4]
            if not writer.append(timestamp_ms, key, value, headers):
                await (await producer.send(topic, partition, writer))
                writer = producer.new_batch()
                if not writer.append(timestamp_ms, key, value, headers):
                    raise ProduceFailedError("a record larger than a batch", too_large=True)
        await (await producer.send(topic, partition, writer))

    def _freed(self, size_bytes: int) -> None:
        self._size_bytes -= size_bytes
        if self._size_bytes <= QUEUED_BYTES_MAX:
            self._room.set()


def _tell_owners(entries: list[tuple[str, int, Entry]], began_s: float) -> None:
    """Tell the writers what has become visible."""
    by_topic: defaultdict[str, list[Run]] = defaultdict(list)
    for topic, _, entry in entries:
        by_topic[topic].append(Run(entry.batch, [entry.place], entry.owner, failed=entry.failed))
    for topic, stored in by_topic.items():
        for owner, count in count_by_owner(stored).items():
            owner.stored(topic, stored, count, since_s=began_s)
