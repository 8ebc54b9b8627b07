"""The clients of the broker in memory, as the service's edges want them."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from service.consumers.base import (
    AssignmentListener,
    ClientFailedError,
    ClientHealth,
    CommitRefusedError,
    CommittedOffset,
    CorruptBatchError,
    Fetched,
    OffsetGoneError,
    TopicPartition,
    TopicsRefusedError,
)
from service.errors import BrokerUnavailableError
from service.events import Headers, Permission, Record, SourceRecord
from service.publishers.base import (
    BatchWriter,
    ProduceFailedError,
    ProduceUnknownError,
    Row,
    TopicInfo,
)
from service.testing.broker import Commit, Member, MemoryBroker

FETCH_RECORDS: Final = 500
"""Records in one stored batch as these clients fetch it."""

RECORD_OVERHEAD_BYTES: Final = 70
"""Roughly what a record takes beside its key and value."""

BATCH_LIMIT_BYTES: Final = 256 * 1024
"""Size of a produce batch, as the service configures the real client."""


class MemoryStoredBatch:
    """A run of records, decoded when asked to."""

    def __init__(
        self,
        partition: TopicPartition,
        records: Sequence[SourceRecord],
        next_offset: int,
        *,
        corrupt: bool,
    ) -> None:
        self._partition = partition
        self._records = records
        self._corrupt = corrupt
        self.first_offset = records[0].offset if records else next_offset
        self.next_offset = next_offset
        self.size_bytes = sum(_size_bytes(record) for record in records)

    def decode(self) -> Sequence[Record]:
        """See :meth:`service.consumers.base.StoredBatch.decode`."""
        if self._corrupt:
            raise CorruptBatchError(
                self._partition, self.first_offset, self.next_offset, "bad checksum"
            )
        return self._records


class MemoryConsumer:
    """A :class:`~service.consumers.base.ConsumerClient` of a broker in memory."""

    def __init__(self, broker: MemoryBroker, topics: Iterable[str], group: str) -> None:
        self._broker = broker
        self._topics = frozenset(topics)
        self._group = broker.group(group)
        self._group_name = group
        self._member: Member | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._heard_at_s = 0.0
        self._failed: str | None = None

    async def start(self, listener: AssignmentListener) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.start`."""
        self._require()
        self._member = Member(self._topics, listener)
        await self._group.join(self._member)

    async def stop(self) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.stop`."""
        member, self._member = self._member, None
        if member is not None:
            await self._group.leave(member)

    def arrived(self) -> Collection[TopicPartition]:
        """See :meth:`service.consumers.base.ConsumerClient.arrived`."""
        return self._assignment()

    def take(self, partitions: Collection[TopicPartition]) -> list[Fetched]:
        """See :meth:`service.consumers.base.ConsumerClient.take`."""
        if self._failed is not None:
            raise ClientFailedError(self._failed)
        if self._broker.down:
            return []
        # Also during a rebalance: what Kafka's client has fetched before it, it hands out then.
        wanted = sorted(set(partitions) & self._assignment() & self._positions.keys())
        # before anything is fetched, which would be lost with the error
        if refused := self._broker.unreadable & {partition.topic for partition in wanted}:
            raise TopicsRefusedError(refused)
        fetched = (self._fetch(partition) for partition in wanted)
        return [answer for answer in fetched if answer is not None]

    def _fetch(self, partition: TopicPartition) -> Fetched | None:
        log = self._broker.log(partition)
        position = self._positions[partition]
        if not log.start <= position <= log.end:
            raise OffsetGoneError(partition, position)
        if position == log.end:
            return None
        records = log.read(position, FETCH_RECORDS)
        # A corrupt record is a batch of its own that cannot be read; what is around it can.
        bad = next((i for i, record in enumerate(records) if record.offset in log.corrupt), None)
        if bad is not None:
            records = records[: max(1, bad)]
        last = bool(records) and records[-1].offset != log.records[-1].offset
        next_offset = records[-1].offset + 1 if last else log.end
        self._positions[partition] = next_offset
        batch = MemoryStoredBatch(partition, records, next_offset, corrupt=bad == 0)
        return Fetched(partition, position, [batch])

    async def wait(self, timeout_s: float, until: asyncio.Future[None] | None = None) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.wait`."""
        del until  # what it would save is virtual time
        await self._broker.changed(timeout_s)

    def seek(self, partition: TopicPartition, position: int) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.seek`."""
        if partition in self._assignment():
            self._positions[partition] = position

    async def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.commit`."""
        self._require()
        if self._broker.commit_faults:
            raise self._broker.commit_faults.popleft()
        member = self._member
        if member is None or member.generation != self._group.generation:
            raise CommitRefusedError("the group does not know this member")
        if not offsets.keys() <= member.assignment:
            raise CommitRefusedError("a partition of somebody else")
        refused = self._broker.unreadable & {partition.topic for partition in offsets}
        for partition, offset in offsets.items():
            if partition.topic in refused:
                continue
            self._group.offsets[partition] = offset
            self._broker.commits.append(Commit(self._group_name, partition, offset))
        if refused:
            raise TopicsRefusedError(refused)

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, CommittedOffset]:
        """See :meth:`service.consumers.base.ConsumerClient.committed`."""
        self._require()
        stored = self._group.offsets
        return {partition: stored[partition] for partition in partitions if partition in stored}

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """See :meth:`service.consumers.base.ConsumerClient.beginning_offsets`."""
        self._require()
        return {partition: self._broker.log(partition).start for partition in partitions}

    async def end_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """See :meth:`service.consumers.base.ConsumerClient.end_offsets`."""
        self._require()
        return {partition: self._broker.log(partition).end for partition in partitions}

    def end_offset_seen(self, partition: TopicPartition) -> int | None:
        """See :meth:`service.consumers.base.ConsumerClient.end_offset_seen`."""
        if partition not in self._positions:
            return None
        return self._broker.log(partition).end

    def readable_end_seen(self, partition: TopicPartition) -> int | None:
        """See :meth:`service.consumers.base.ConsumerClient.readable_end_seen`."""
        return self.end_offset_seen(partition)  # no transaction is open here

    def health(self) -> ClientHealth:
        """See :meth:`service.consumers.base.ConsumerClient.health`."""
        if not self._broker.down:
            self._heard_at_s = asyncio.get_running_loop().time()
        return ClientHealth(
            last_heartbeat_at_s=self._heard_at_s,
            last_metadata_at_s=self._heard_at_s,
            generation=-1 if self._member is None else self._member.generation,
            failed=self._failed,
            missing=sorted(self._topics - self._broker.topics.keys()),
            rebalancing=self._group.rebalancing,
        )

    def fail(self, reason: str) -> None:
        """Let the client break, so that it has to be replaced."""
        self._failed = reason
        self._broker.wake()

    def _assignment(self) -> frozenset[TopicPartition]:
        return frozenset() if self._member is None else self._member.assignment

    def _require(self) -> None:
        if self._broker.down:
            raise BrokerUnavailableError("the broker is down")


class MemoryBatchWriter:
    """A :class:`~service.publishers.base.BatchWriter` in a list."""

    def __init__(self) -> None:
        self.records: list[tuple[int | None, bytes | None, bytes | None, Headers]] = []
        self.count = 0
        self.size_bytes = 0

    def append(
        self, timestamp_ms: int | None, key: bytes | None, value: bytes | None, headers: Headers
    ) -> bool:
        """See :meth:`service.publishers.base.BatchWriter.append`."""
        size = RECORD_OVERHEAD_BYTES + len(key or b"") + len(value or b"")
        size += sum(len(name) + len(content) for name, content in headers)
        if self.count and self.size_bytes + size > BATCH_LIMIT_BYTES:
            return False  # but a batch takes its first record however large it is
        self.records.append((timestamp_ms, key, value, headers))
        self.count += 1
        self.size_bytes += size
        return True

    def extend(self, rows: Sequence[Row], start: int) -> int:
        """See :meth:`service.publishers.base.BatchWriter.extend`."""
        for index in range(start, len(rows)):
            timestamp_ms, key, value, headers = rows[index]
            if not self.append(timestamp_ms, key, value, headers):
                return index - start
        return len(rows) - start

    def rows(self) -> list[Row]:
        """See :meth:`service.publishers.base.BatchWriter.rows`."""
        return [(at, key, value, list(headers)) for at, key, value, headers in self.records]


class MemoryProducer:
    """A :class:`~service.publishers.base.ProducerClient` of a broker in memory."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._open = False
        self._failed: str | None = None
        self._found: set[str] = set()
        self._heard_s = 0.0

    async def start(self) -> None:
        """See :meth:`service.publishers.base.ProducerClient.start`."""
        if self._broker.down:
            raise BrokerUnavailableError("the broker is down")
        self._open = True

    async def stop(self, deadline_s: float) -> None:
        """See :meth:`service.publishers.base.ProducerClient.stop`."""
        del deadline_s
        self._open = False

    async def topic_info(self, topic: str) -> TopicInfo:
        """See :meth:`service.publishers.base.ProducerClient.topic_info`."""
        found = self._broker.topics.get(topic)
        if found is None or self._broker.down:
            raise BrokerUnavailableError(f"topic {topic} is unknown")
        self._found.add(topic)
        return TopicInfo(len(found.logs), found.max_message_bytes)

    async def find(self, topic: str) -> None:
        """See :meth:`service.publishers.base.ProducerClient.find`."""
        await self.topic_info(topic)

    def partitions(self, topic: str) -> int | None:
        """See :meth:`service.publishers.base.ProducerClient.partitions`."""
        found = self._broker.topics.get(topic) if topic in self._found else None
        return None if found is None else len(found.logs)

    @property
    def heard_s(self) -> float:
        """See :attr:`service.publishers.base.ProducerClient.heard_s`; it is asked all the time."""
        if not self._broker.down:
            self._heard_s = asyncio.get_running_loop().time()
        return self._heard_s

    def new_batch(self) -> BatchWriter:
        """See :meth:`service.publishers.base.ProducerClient.new_batch`."""
        return MemoryBatchWriter()

    async def send(
        self,
        topic: str,
        partition: int,
        batch: BatchWriter,
        *,
        permission: Callable[[], Permission] | None = None,
    ) -> "asyncio.Future[int]":
        """See :meth:`service.publishers.base.ProducerClient.send`."""
        if not isinstance(batch, MemoryBatchWriter):
            raise TypeError("a batch of another client")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[int] = loop.create_future()
        if not self._open:
            outcome.set_exception(ProduceFailedError("the producer is closed"))
            return outcome

        def store() -> None:
            if outcome.done():
                return
            there = not self._broker.down and self._there(topic, partition)
            allowed = Permission.GO if permission is None else permission()
            if not there or allowed is Permission.WAIT:
                if self._open:  # an idempotent producer never gives up
                    loop.call_later(_RETRY_S, store)
            elif allowed is Permission.NEVER:
                outcome.set_exception(ProduceFailedError("its partition was lost"))
            else:
                self._settle(outcome, topic, partition, batch)

        if self._broker.produce_delay_s:
            loop.call_later(self._broker.produce_delay_s, store)
        else:
            loop.call_soon(store)
        return outcome

    def _settle(
        self, outcome: "asyncio.Future[int]", topic: str, partition: int, batch: MemoryBatchWriter
    ) -> None:
        try:
            outcome.set_result(self._store(topic, partition, batch))
        except (ProduceFailedError, ProduceUnknownError) as error:
            outcome.set_exception(error)

    def _there(self, topic: str, partition: int) -> bool:
        found = self._broker.topics.get(topic)
        return found is not None and partition < len(found.logs)

    def _store(self, topic: str, partition: int, batch: MemoryBatchWriter) -> int:
        broker = self._broker
        fault = broker.produce_faults.popleft() if broker.produce_faults else None
        if fault is not None and not isinstance(fault, ProduceUnknownError):
            raise fault
        found = broker.topics[topic]
        if batch.size_bytes > found.max_message_bytes:
            raise ProduceFailedError("the batch is too large", too_large=True)
        base = found.logs[partition].end
        for timestamp, key, value, headers in batch.records:
            broker.produce(
                topic,
                value,
                key=key,
                partition=partition,
                headers=headers,
                timestamp=timestamp,
            )
        if fault is not None:
            raise fault
        return base

    def failed(self) -> str | None:
        """See :meth:`service.publishers.base.ProducerClient.failed`."""
        return self._failed if self._open else "closed"

    def fail(self, reason: str) -> None:
        """Let the client break, so that it has to be replaced."""
        self._failed = reason


_RETRY_S: Final = 0.1


def _size_bytes(record: SourceRecord) -> int:
    return RECORD_OVERHEAD_BYTES + len(record.key or b"") + len(record.value or b"")
