"""What the harness asks of the broker: topics, fast loading, positions, reading it all back."""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2

from benchmarks.harness.model import BATCH_BYTES, Output
from tests.kafka.client import Kafka

_IN_FLIGHT = 16


class Cluster:
    """One broker, seen by the harness.

    Args:
        kafka: For what need not be fast.
        watcher: A consumer without a group, for positions.
    """

    def __init__(self, kafka: Kafka, watcher: Any) -> None:
        self._kafka = kafka
        self._watcher = watcher
        self.bootstrap = kafka.bootstrap

    async def create_topic(self, name: str, partitions: int) -> str:
        """A new topic whose name starts with `name`, never compacted or expired meanwhile."""
        topic = f"{name}.{uuid.uuid4().hex[:8]}"
        return await self._kafka.create_topic(
            topic, partitions, retention_ms=-1, retention_bytes=-1
        )

    async def delete_topic(self, name: str) -> None:
        """Delete it; its disk space comes back."""
        await self._kafka.delete_topic(name)

    async def load(
        self,
        topic: str,
        partitions: int,
        count: int,
        record: Callable[[int], tuple[bytes | None, bytes]],
        *,
        batch_bytes: int = BATCH_BYTES,
        compression: str | None = None,
    ) -> None:
        """Write the records 0 to `count` - 1 in order, in full batches.

        Keys choose the partition as every Kafka client does (murmur2); without keys the records
        go to the partitions in turn.
        """
        async with _producer(self.bootstrap, batch_bytes, compression) as producer:
            partition_of: dict[bytes, int] = {}
            builders = [producer.create_batch() for _ in range(partitions)]
            sent: list[Any] = []
            for number in range(count):
                key, value = record(number)
                if key is None:
                    partition = number % partitions
                elif (known := partition_of.get(key)) is not None:
                    partition = known
                else:
                    partition = (murmur2(key) & 0x7FFFFFFF) % partitions
                    partition_of[key] = partition
                if builders[partition].append(key=key, value=value, timestamp=None) is None:
                    sent.append(
                        await producer.send_batch(builders[partition], topic, partition=partition)
                    )
                    builders[partition] = producer.create_batch()
                    builders[partition].append(key=key, value=value, timestamp=None)
                    if len(sent) >= _IN_FLIGHT:
                        await sent.pop(0)
            for partition, builder in enumerate(builders):
                if builder.record_count():
                    sent.append(await producer.send_batch(builder, topic, partition=partition))
            for done in sent:
                await done

    async def visible(self, topics: Mapping[str, str], partitions: int) -> int:
        """How many records the topics hold, open transactions left out, markers counted."""
        places = [TopicPartition(t, p) for t in topics.values() for p in range(partitions)]
        ends = await self._watcher.end_offsets(places)
        return sum(ends.values())

    async def committed(self, group: str, topic: str) -> int:
        """Sum of the group's committed positions."""
        return sum(max(at, 0) for at in (await self._kafka.committed(group, topic)).values())

    async def read(
        self,
        topics: Mapping[str, str],
        canonical: Callable[[bytes], bytes],
        *,
        committed_only: bool,
    ) -> list[Output]:
        """Every output, in order within each partition."""
        found: list[Output] = []
        for logical, topic in topics.items():
            records = await self._kafka.consume(topic, read_committed=committed_only, timeout_s=300)
            found += [Output(logical, r.key, canonical(r.value or b"")) for r in records]
        return found


@asynccontextmanager
async def connect(bootstrap: str) -> AsyncIterator[Cluster]:
    """Clients for one broker."""
    watcher = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed"
    )
    await watcher.start()
    try:
        async with Kafka(bootstrap) as kafka:
            yield Cluster(kafka, watcher)
    finally:
        await watcher.stop()


@asynccontextmanager
async def _producer(
    bootstrap: str, batch_bytes: int, compression: str | None
) -> AsyncIterator[Any]:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        max_batch_size=batch_bytes,
        compression_type=compression,
        linger_ms=0,
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
