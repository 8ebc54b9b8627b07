"""Takes stored batches by their headers alone, small ones that lie side by side as one.

Producers that do not wait for more write batches of one record or few.  Making an object of the
client's for each of them, only to ask what its header says, takes longer than making its record.
Here headers and checksums are read straight from what was fetched; the client decodes all batches
of a run in one go.

Takes what is whole and where it belongs.  About everything else the client is asked, batch by
batch: it has the last word on old formats and on damage.  Knows nothing of aborted transactions.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from service.consumers.base import MixedBatchError, TopicPartition
from service.consumers.kafka_batches import Batch
from service.consumers.kafka_checksum import StoredBatches, crc32c
from service.delivery.record_format import (
    BATCH_HEAD,
    BATCH_HEADER_BYTES,
    CHECKSUM_COVERS_FROM,
    COMPRESSION_MASK,
    CONTROL_BIT,
    LENGTH_COVERS_FROM,
    MAGIC,
    MAGIC_AT,
)
from service.events import Record

RUN_BATCHES: Final = 64
"""Most stored batches that are taken as one."""
RUN_OFFSETS: Final = 128
"""A run ends when it covers as many."""
RUN_BATCH_BYTES: Final = 8 * 1024
"""Longest batch of a run: they are copied to be decoded, which takes as long as an object then."""

_MIN_LENGTH: Final = BATCH_HEADER_BYTES - LENGTH_COVERS_FROM
_ALONE: Final = COMPRESSION_MASK | CONTROL_BIT

checksum_of: Callable[[bytes], int] = crc32c or calc_crc32c
_head: Callable[[bytes, int], tuple[int, int, int, int, int, int]] = BATCH_HEAD.unpack_from


class StoredRun:
    """Small stored batches side by side, none of them compressed, all with the right checksum.

    Args:
        partition: Whose.
        data: What was fetched.
        start: Where the first begins in ``data``.
        stop: Where it ends; moved on, with ``next_offset`` and ``count``, when more are added.
        first_offset: The first that it covers.
        next_offset: One past the last.

    Attributes:
        count: How many they are.
    """

    __slots__ = (
        "_data",
        "_partition",
        "_start",
        "count",
        "first_offset",
        "next_offset",
        "size_bytes",
        "stop",
    )

    def __init__(
        self,
        partition: TopicPartition,
        data: bytes,
        start: int,
        stop: int,
        *,
        first_offset: int,
        next_offset: int,
    ) -> None:
        self._partition = partition
        self._data = data
        self._start = start
        self.stop = stop
        self.count = 1
        self.first_offset = first_offset
        self.next_offset = next_offset
        self.size_bytes = 0

    def decode(self) -> Sequence[Record]:
        """See :meth:`service.consumers.base.StoredBatch.decode`.

        Raises:
            MixedBatchError: If one of them cannot be decoded; the others can be had one by one.
        """
        data, self._data = self._data[self._start : self.stop], b""
        try:
            return list(chain.from_iterable(_raws(data)))
        except Exception as exc:  # the decoder raises whatever it likes
            raise MixedBatchError([self._one(raw) for raw in _raws(data)]) from exc

    def _one(self, raw: Any) -> Batch:
        one = Batch(self._partition, raw, raw.base_offset, raw.next_offset)
        covered = one.next_offset - one.first_offset
        one.size_bytes = self.size_bytes * covered // max(1, self.next_offset - self.first_offset)
        return one


def take_whole(
    partition: TopicPartition, stored: StoredBatches, end: int, limit: int
) -> list[StoredRun | Batch]:
    """Take what comes next, up to the first that the client has to be asked about.

    Args:
        partition: Whose.
        stored: Where it is taken from.
        end: One past the offsets of the batches before.
        limit: One past the last offset of the log.
    """
    data = stored.data
    at = stored.at
    size = len(data)
    last = size - BATCH_HEADER_BYTES
    taken: list[StoredRun | Batch] = []
    # The client takes all batches of an answer for what the first one says of its format.
    if at > last or data[MAGIC_AT] != MAGIC:
        return taken
    view = memoryview(data)
    count = 0
    run: StoredRun | None = None
    while at <= last:
        offset, length, magic, checksum, attributes, delta = _head(data, at)
        behind = at + LENGTH_COVERS_FROM + length
        next_offset = offset + delta + 1
        if (
            magic != MAGIC
            or length < _MIN_LENGTH
            or behind > size
            or not end < next_offset <= limit
            or checksum != checksum_of(data[at + CHECKSUM_COVERS_FROM : behind])
        ):
            break
        if attributes & _ALONE or length > RUN_BATCH_BYTES:
            run = None
            raw = None if attributes & CONTROL_BIT else DefaultRecordBatch(view[at:behind])
            taken.append(Batch(partition, raw, offset, next_offset))
        elif run is None or run.count == RUN_BATCHES or end - run.first_offset >= RUN_OFFSETS:
            run = StoredRun(
                partition, data, at, behind, first_offset=offset, next_offset=next_offset
            )
            taken.append(run)
        else:
            run.stop = behind
            run.next_offset = next_offset
            run.count += 1
        count += 1
        at = behind
        end = next_offset
    stored.skip(count, at)
    return taken


def _raws(data: bytes) -> Iterator[Any]:
    """The client's batches in ``data``."""
    return iter(MemoryRecords(data).next_batch, None)
