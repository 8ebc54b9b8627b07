"""Reading a changelog back into a table, before the partition's events are read.

The last record of each key counts, so it does not matter from how far back one reads, only that
one reads to the end.  Who reads is not known here.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

from service.events import Record
from service.state.records import decode_key, decode_value
from service.state.table import Table


class Chunk(NamedTuple):
    """A run of a changelog partition.

    Attributes:
        records: In offset order; may be empty.
        next_offset: Everything below it has been read, markers and holes included.
        end_offset: Where reading ends: the end of the log when it began.
    """

    records: Sequence[Record]
    next_offset: int
    end_offset: int


class ChangelogReader(Protocol):
    """Opens one partition of a changelog."""

    def read(
        self, topic: str, partition: int, start: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Committed records from ``start`` (or the oldest there is) to the end as of now.

        Raises:
            BrokerUnavailableError: If it cannot be read in time; begin again.
        """
        ...


class Restored(NamedTuple):
    """What :func:`restore` did."""

    records: int
    skipped: int
    """Records that are no changes of ours: foreign, or damaged by hand."""


async def restore(
    table: Table,
    chunks: AsyncIterator[Chunk],
    *,
    topic: str,
    decode: Callable[[Any], Any],
    now_ms: int,
    progress: Callable[[Chunk], None],
) -> Restored:
    """Bring ``table`` up to date.

    Args:
        table: What is known already, up to its ``next_offset``.
        chunks: The changelog from there on.
        topic: Input topic whose keys are wanted; the changelog serves all of a pipeline.
        decode: JSON to value.
        now_ms: Wall clock, against which the age of keys is reckoned.
        progress: Told of every chunk that is in the table.
    """
    count = skipped = 0
    prefix = f"{topic}/".encode()
    length = len(prefix)
    async for chunk in chunks:
        for record in chunk.records:
            key_bytes = record.key
            if key_bytes is None or not key_bytes.startswith(prefix):
                skipped += _foreign(key_bytes)
                continue
            value = record.value
            try:
                key = key_bytes[length:].decode()
                if value is None:
                    table.delete(key)
                else:
                    decoded = decode(decode_value(value))
                    table.put(key, decoded, max(0.0, (now_ms - record.timestamp) / 1000))
            except (ValueError, TypeError, LookupError):
                skipped += 1
                continue
            count += 1
        table.next_offset = chunk.next_offset
        progress(chunk)
    return Restored(count, skipped)


def _foreign(key: bytes | None) -> bool:
    """Whether a record belongs to no input topic at all."""
    try:
        return key is None or not decode_key(key)[0]
    except ValueError:
        return True
