"""Which offset of one partition is safe to commit while its records finish out of order.

Pure bookkeeping: no Kafka client, no clock, no event loop.  In this module ``offset`` is always
the position of a record that exists, and ``next_offset`` is always one past what it speaks of,
which is the value that Kafka's commit expects.  Offsets have holes (transaction markers,
compaction, aborted records): a position without a record counts as finished together with the
record before it.

The records themselves are acknowledged on their batch (:meth:`service.events.RecordBatch.ack`),
which knows nothing of this module; the tracker looks at the batches' bitmaps when it is asked.
So a record costs nothing here, and a batch costs O(1) amortized.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from service.delivery.skips import Range, SkipSet
from service.errors import UnexpectedOffsetError
from service.events import RecordBatch

_DIGITS = b"01" + bytes(254)
_RUN_BITS = 16
"""A range costs at least two bytes where it is written as a run."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A record that is not durable yet, by its place."""

    offset: int
    batch: RecordBatch
    index: int


class PartitionOffsets:
    """The record batches of one partition under one assignment, in offset order.

    >>> from service.events import RecordBatch, SourceRecord
    >>> records = [SourceRecord(b"", offset=offset) for offset in (10, 11, 15)]
    >>> batch = RecordBatch("logs", 0, records, next_offset=16)
    >>> offsets = PartitionOffsets("logs", 0, epoch=0, position=10)
    >>> offsets.deliver(batch)
    0
    >>> batch.ack(1)  # offset 11 is done, but 10 is not
    >>> offsets.next_offset
    10
    >>> batch.ack(0)  # 12, 13 and 14 do not exist
    >>> offsets.next_offset
    15
    >>> batch.ack(2)
    >>> offsets.next_offset
    16

    Args:
        topic: Topic name.
        partition: Partition number.
        epoch: Number of the assignment; batches of another one are refused.
        position: The committed offset, or where reading starts if nothing was ever committed.
        skips: What an earlier owner finished beyond ``position``; such records are acknowledged
            as they are delivered.
    """

    __slots__ = (
        "_batches",
        "_expected_offset",
        "_index",
        "_next_offset",
        "_skips",
        "epoch",
        "partition",
        "revoked",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        *,
        epoch: int,
        position: int,
        skips: SkipSet | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.epoch = epoch
        self.revoked = False
        self._batches: deque[RecordBatch] = deque()
        self._next_offset = position
        self._expected_offset = position
        self._index = 0  # no record of the first batch before this index is unfinished
        self._skips = SkipSet() if skips is None else skips

    @property
    def expected_offset(self) -> int:
        """Lowest offset that the next batch may start with; seek here after any fetch error."""
        return self._expected_offset

    def deliver(self, batch: RecordBatch) -> int:
        """Take over ``batch``, the next one of the partition; it may start after a hole.

        Returns:
            How many of its records an earlier owner had finished; they are acknowledged now, and
            dispatch must pass over them (``batch.done``).

        Raises:
            UnexpectedOffsetError: If the batch starts below :attr:`expected_offset`, ends before
                it starts, or belongs to another partition or epoch; nothing has changed then.
        """
        expected = self._expected_offset
        records = batch.records
        first = records[0].offset if records else expected
        last = records[-1].offset if records else first - 1
        if (
            first < expected
            or batch.next_offset <= last
            or batch.next_offset < expected
            or batch.epoch != self.epoch
            or batch.partition != self.partition
            or batch.topic != self.topic
        ):
            raise UnexpectedOffsetError(
                f"{batch.topic}/{batch.partition} epoch {batch.epoch}",
                expected_offset=expected,
                offset=first,
            )
        batch.revoked = self.revoked
        if batch.next_offset == expected:
            return 0  # no records and no progress: nothing to track
        self._expected_offset = batch.next_offset
        self._batches.append(batch)
        if not self._skips:
            return 0
        skipped = self._skips.skip(batch)
        self._skips.forget_below(batch.next_offset)
        return skipped

    def finished_before(self, offset: int) -> bool:
        """Whether an earlier owner finished the record at ``offset``, not delivered again yet."""
        return offset in self._skips

    @property
    def next_offset(self) -> int:
        """Lowest position that is not yet durable: what may be committed now.

        Never moves backwards, and never beyond what was delivered.  O(1) amortized.
        """
        batches = self._batches
        while batches:
            front = batches[0]
            if front.left:
                # A batch with something left has a zero byte, so find never fails.
                self._index = index = front.done.find(0, self._index)
                self._next_offset = front.records[index].offset
                break
            self._next_offset = front.next_offset
            self._index = 0
            batches.popleft()
        return self._next_offset

    @property
    def span(self) -> int:
        """At most so many positions are between :attr:`next_offset` and what was delivered.

        Does not look at what has been acknowledged since :attr:`next_offset` was asked for.
        """
        return self._expected_offset - self._next_offset

    def commit_due(self, committed: int | None) -> bool:
        """Whether there is something to commit that ``committed`` does not say yet.

        ``None`` means that nothing was ever committed: the start position itself is due then,
        because a consumer that began at the end of the log and dies before its first commit
        would begin at a later end.  Nothing is due after a revoke.
        """
        return not self.revoked and (committed is None or self.next_offset > committed)

    @property
    def outstanding(self) -> int:
        """Records delivered and not yet durable.  O(batches held)."""
        return sum(batch.left for batch in self._batches)

    @property
    def oldest_unfinished(self) -> Unfinished | None:
        """The record that holds the commit back, for status pages; ``None`` if nothing does."""
        offset = self.next_offset
        if not self._batches:
            return None
        front = self._batches[0]
        return Unfinished(offset, front, self._index) if front.left else None

    def finished_ranges(self) -> Iterator[Range]:
        """What is finished above :attr:`next_offset`, ascending, disjoint, as long as possible.

        Includes what an earlier owner finished and nobody delivered again yet.  O(batches held +
        ranges), with C speed inside a batch.  Positions without a record may be in a range or
        not; they will never hold one.  Do not deliver while iterating.
        """
        low = self.next_offset
        start: int | None = None
        end = low
        for batch in self._batches:
            done = batch.done
            records = batch.records
            index = 0
            while (unfinished := done.find(0, index)) >= 0:
                if unfinished > index and start is None:
                    start = records[index].offset
                if start is not None:
                    yield start, records[unfinished].offset
                    start = None
                index = done.find(1, unfinished)
                if index < 0:
                    break
            else:
                if start is None:
                    start = records[index].offset if index else end
            end = batch.next_offset
        for skip_start, skip_end in self._skips.beyond(self._expected_offset):
            if start is not None and skip_start > end:
                yield start, end
                start = None
            start = skip_start if start is None else start
            end = skip_end
        if start is not None:
            yield start, end

    def finished_bitmap(self, max_bytes: int) -> bytes | None:
        """What :meth:`finished_ranges` tells, one bit per position from :attr:`next_offset` on.

        For a ragged edge, which a filter makes of every batch: then it is the shorter way to say
        it, and costs a hundredth of listing.  Lowest bit of the first byte first, no zero bytes
        at the end.  ``None`` if ranges are shorter, if it could be longer than ``max_bytes``, if
        offsets have holes inside a batch, or if something of an earlier owner lies ahead.
        O(positions), in C.
        """
        low, end = self.next_offset, self._expected_offset
        if end - low > 8 * max_bytes or any(True for _ in self._skips.beyond(end)):
            return None
        bits = 0
        begun = 0  # ranges that begin inside batches
        at = low
        for batch in self._batches:
            records = batch.records
            if records:
                first = records[0].offset
                if records[-1].offset - first != len(records) - 1:
                    return None
                begun += batch.done.count(b"\0\1")
                finished = int(batch.done.translate(_DIGITS)[::-1], 2)
                bits |= finished << (first - low) if first >= low else finished >> (low - first)
            else:  # all of it is finished: it was compacted
                bits |= ((1 << (batch.next_offset - at)) - 1) << (at - low)
            at = batch.next_offset
        if begun * _RUN_BITS < end - low:
            return None
        return bits.to_bytes((bits.bit_length() + 7) // 8, "little")

    def compact(self) -> None:
        """Let go of the records of complete batches that wait behind an unfinished one.

        Call it at each commit.  Otherwise one stuck record would keep every later batch of its
        partition in memory, although the budget counts them as given back.  O(batches held).
        """
        kept: deque[RecordBatch] = deque()
        for batch in self._batches:
            if batch.left:
                kept.append(batch)
                continue
            if kept and not kept[-1].left:
                kept.pop()
            # An empty batch is complete, and says how far it reaches.
            kept.append(
                RecordBatch(
                    self.topic, self.partition, (), next_offset=batch.next_offset, epoch=self.epoch
                )
            )
        self._batches = kept

    def revoke(self) -> None:
        """The partition is no longer ours: mark all live batches, commit nothing any more."""
        self.revoked = True
        for batch in self._batches:
            batch.revoked = True

    def __repr__(self) -> str:
        return (
            f"PartitionOffsets({self.topic}/{self.partition} epoch {self.epoch}: "
            f"next_offset={self.next_offset}, outstanding={self.outstanding})"
        )
