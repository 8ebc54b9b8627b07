"""Which handlers are finished with records that others have left to the next owner.

Of a record of several handlers the quick ones may be done long before the slow one begins.  When a
partition is given up in order, the last commit says who is finished with what, so that nobody waits
for the slow one's backlog and nobody does the others' work twice.  A handler that the next owner
has and we have not is named nowhere, and so it gets everything.

Pure: no client, no clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from service.delivery.skips import Range, SkipSet, union
from service.events import RecordBatch

FinishedBy: TypeAlias = Mapping[str, Sequence[Range]]
"""Offsets by handler, ascending and disjoint.  Those of records that all are finished with may be
among them or not."""


def tell(batch: RecordBatch, finished_by: FinishedBy) -> None:
    """Tell ``batch``, which is delivered now, who is finished with records of it."""
    records = batch.records
    if not records:
        return
    first, last = records[0].offset, records[-1].offset
    found: dict[str, frozenset[int]] = {}
    for handler, ranges in finished_by.items():
        here = SkipSet([(start, end) for start, end in ranges if start <= last and end > first])
        if here:
            places = [index for index, record in enumerate(records) if record.offset in here]
            found[handler] = frozenset(places)
    if found:
        batch.finished_by = found


def above(finished_by: FinishedBy, offset: int) -> dict[str, list[Range]]:
    """The part of ``finished_by`` at or above ``offset``."""
    kept = {
        handler: [(max(start, offset), end) for start, end in ranges if end > offset]
        for handler, ranges in finished_by.items()
    }
    return {handler: ranges for handler, ranges in kept.items() if ranges}


def with_absent(finished_by: FinishedBy, batches: Iterable[RecordBatch]) -> FinishedBy:
    """``finished_by``, and what of ``batches`` only absent handlers are not finished with.

    Args:
        finished_by: What an earlier owner has told.
        batches: All of one partition that are not done, ascending.
    """
    left = [batch for batch in batches if batch.left]
    names = {name for batch in left if batch.absent for name in batch.handlers}
    told = dict(finished_by)
    for name in sorted(names):
        ranges = union(told.get(name, ()), _finished(name, left))
        if ranges:
            told[name] = ranges
    return told


def _finished(handler: str, batches: Iterable[RecordBatch]) -> Iterable[Range]:
    """What was left to others, with what all are finished with in between."""
    start: int | None = None
    end = 0
    for batch in batches:
        done, absent = batch.done, batch.absent or {}
        if start is not None and batch.records and batch.records[0].offset < end:
            yield start, end  # of an earlier assignment; all between two of one is finished
            start = None
        for index, record in enumerate(batch.records):
            if done[index]:
                continue
            names = absent.get(index)
            if names is not None and handler not in names and batch.is_shared_out(index):
                start = record.offset if start is None else start
                end = record.offset + 1
            elif start is not None:
                yield start, end
                start = None
    if start is not None:
        yield start, end
