"""Stored batches of the client, checked and not yet decoded, as the intake takes them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from service.consumers.base import (
    CorruptBatchError,
    MixedBatchError,
    StoredBatch,
    TopicPartition,
)
from service.consumers.kafka_decompress import decoded_bytes
from service.delivery.record_format import COMPRESSION_MASK
from service.events import Record


class Batch:
    """A stored batch; without ``raw`` it only covers offsets, or is known to be damaged."""

    __slots__ = ("_damage", "_partition", "_raw", "first_offset", "next_offset", "size_bytes")

    def __init__(
        self,
        partition: TopicPartition,
        raw: Any,
        first_offset: int,
        next_offset: int,
        damage: str | None = None,
    ) -> None:
        self._partition = partition
        self._raw = raw
        self._damage = damage
        self.first_offset = first_offset
        self.next_offset = next_offset
        self.size_bytes = 0

    def decode(self) -> Sequence[Record]:
        """See :meth:`service.consumers.base.StoredBatch.decode`."""
        if self._damage is not None:
            raise self._corrupt(self._damage)
        raw, self._raw = self._raw, None
        if raw is None:
            return ()
        before = decoded_bytes()
        try:
            records: list[Record] = list(raw)
        except Exception as exc:  # codecs raise whatever they like
            raise self._corrupt(repr(exc)) from exc
        if is_compressed(raw):
            # Where the client has decoders of its own, what they made has to be looked at.
            self.size_bytes = decoded_bytes() - before or bytes_of(records)
        return records

    def _corrupt(self, reason: str) -> CorruptBatchError:
        return CorruptBatchError(self._partition, self.first_offset, self.next_offset, reason)


class Decoded:
    """Records that are decoded already; at least one."""

    __slots__ = ("_records", "first_offset", "next_offset", "size_bytes")

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records
        self.first_offset: int = records[0].offset
        self.next_offset: int = records[-1].offset + 1
        self.size_bytes = bytes_of(records)

    def decode(self) -> Sequence[Record]:
        """See :meth:`service.consumers.base.StoredBatch.decode`."""
        return self._records


def is_compressed(raw: Any) -> bool:
    """Whether the records of a stored batch are; those of old formats may be."""
    return bool(getattr(raw, "compression_type", COMPRESSION_MASK) & COMPRESSION_MASK)


def bytes_of(records: Sequence[Record]) -> int:
    """Keys, values and headers of ``records``."""
    return sum(
        len(record.value or b"")
        + len(record.key or b"")
        + sum(len(name) + len(content or b"") for name, content in record.headers)
        for record in records
    )


def decoded(
    batches: Iterable[StoredBatch], passed_over: Callable[[CorruptBatchError], object]
) -> Iterator[tuple[Sequence[Record], int]]:
    """The records of each of ``batches``, and one past the offsets that it covers.

    For readers that have no dead-letter topic: of a batch that cannot be decoded there are none,
    and ``passed_over`` is told.  Nothing is decoded before it is asked for.
    """
    for stored in batches:
        try:
            records = stored.decode()
        except MixedBatchError as exc:
            yield from decoded(exc.parts, passed_over)
            continue
        except CorruptBatchError as exc:
            passed_over(exc)
            records = ()
        yield records, stored.next_offset
