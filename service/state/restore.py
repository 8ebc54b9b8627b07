"""Reading a changelog back into a table, before the partition's events are read.

The last record of each key counts, so it does not matter from how far back one reads, only that
one reads to the end.  Who reads is not known here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol

from service.events import Record
from service.state.records import decode_key, key_prefix
from service.state.table import Table

LATEST_MAX: Final = 20_000
"""Records that are kept as they came before they go into the table."""
LOADED_AT_ONCE: Final = 1_000
"""Keys that go into the table before other tasks have their turn: some milliseconds, on disk."""


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
    now_ms: int,
    progress: Callable[[Chunk], None],
) -> Restored:
    """Bring ``table`` up to date; nothing is decoded but keys, see `Table.load`.

    Args:
        table: What is known already, up to its ``next_offset``.
        chunks: The changelog from there on.
        topic: Input topic whose keys are wanted; the changelog serves all of a pipeline.
        now_ms: Wall clock, against which the age of keys is reckoned.
        progress: Told of every chunk that is in the table.
    """
    count = skipped = damaged = 0
    prefix = key_prefix(topic)
    # In the order of the last change, which is the order in which keys leave.
    latest: dict[bytes, Record] = {}
    take = latest.pop
    async for chunk in chunks:
        for record in chunk.records:
            key = record.key
            if key is None or not key.startswith(prefix):
                skipped += _foreign(key)
                continue
            take(key, None)
            latest[key] = record
            count += 1
        if len(latest) >= LATEST_MAX:
            damaged += await _load(table, latest, len(prefix), now_ms)
            latest.clear()
        table.next_offset = chunk.next_offset
        progress(chunk)
    damaged += await _load(table, latest, len(prefix), now_ms)
    return Restored(count - damaged, skipped + damaged)


async def _load(
    table: Table, latest: Mapping[bytes, Record], prefix_length: int, now_ms: int
) -> int:
    """Bring ``latest`` into ``table``; returns how many were no changes of ours."""
    changes: dict[str, tuple[bytes | None, float]] = {}
    skipped = 0
    for key_bytes, record in latest.items():
        try:
            key = key_bytes[prefix_length:].decode()
        except UnicodeDecodeError:
            skipped += 1
            continue
        changes[key] = record.value, (now_ms - record.timestamp) / 1000
        if len(changes) == LOADED_AT_ONCE:
            table.load(changes)
            changes = {}
            await asyncio.sleep(0)  # events of other partitions, above all
    table.load(changes)
    table.keep_bounds()  # not before: tombstones may come behind the keys that took the places
    return skipped


def _foreign(key: bytes | None) -> bool:
    """Whether a record belongs to no input topic at all."""
    try:
        return key is None or not decode_key(key)[0]
    except ValueError:
        return True
