"""Stored batches as a broker has them, and their records as the service takes them out."""

from collections.abc import Iterable, Sequence

from aiokafka.producer.message_accumulator import BatchBuilder

from service.consumers.base import TopicPartition
from service.consumers.kafka_batches import Batch
from service.consumers.kafka_checksum import StoredBatches, is_whole
from service.events import Record

BATCH_BYTES = 10_000_000


def stored(rows: Iterable[tuple[int, bytes | None, bytes]]) -> bytes:
    """One batch of these timestamps, keys and values."""
    builder = BatchBuilder(BATCH_BYTES, 0)
    for timestamp, key, value in rows:
        builder.append(timestamp=timestamp, key=key, value=value, headers=[])
    return bytes(builder._build())


def records_of(data: bytes, at: TopicPartition, count: int) -> Sequence[Record]:
    """The ``count`` records of a stored batch, checked and decoded."""
    batches = StoredBatches(data)
    batch = batches.next_batch()
    assert is_whole(batches, batch)
    return Batch(at, batch, 0, count).decode()
