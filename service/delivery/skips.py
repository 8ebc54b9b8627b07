"""Which offsets were finished by an earlier owner of the partition and need no second run.

A set of offsets as sorted, disjoint, half-open ranges ``[start, end)``.  Knows neither where the
ranges were stored nor what a record is beyond its offset.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TypeAlias

from service.events import RecordBatch

Range: TypeAlias = tuple[int, int]
"""Offsets ``start <= offset < end``; never empty."""


def union(left: Iterable[Range], right: Iterable[Range]) -> list[Range]:
    """What is in either, as few ranges as possible.

    >>> union([(1, 3), (8, 9)], [(2, 5), (5, 6)])
    [(1, 6), (8, 9)]
    """
    merged: list[Range] = []
    for start, end in sorted((*left, *right)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


class SkipSet:
    """Finished offsets beyond the committed one; records in it are acknowledged on arrival.

    >>> skips = SkipSet([(11, 13), (20, 21)])
    >>> 12 in skips, 13 in skips
    (True, False)
    >>> list(skips.beyond(12))
    [(12, 13), (20, 21)]

    Args:
        ranges: Ascending and disjoint.

    Raises:
        ValueError: If they are not.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        kept = list(ranges)
        if any(start >= end for start, end in kept) or any(
            left[1] > right[0] for left, right in pairwise(kept)
        ):
            raise ValueError("ranges must be ascending, disjoint and not empty")
        self._starts = [start for start, _ in kept]
        self._ends = [end for _, end in kept]

    def __bool__(self) -> bool:
        return bool(self._ends)

    def __contains__(self, offset: int) -> bool:
        place = bisect_right(self._starts, offset) - 1
        return place >= 0 and offset < self._ends[place]

    def beyond(self, offset: int) -> Iterator[Range]:
        """What of the ranges lies at or above ``offset``."""
        for start, end in zip(self._starts, self._ends, strict=True):
            if end > offset:
                yield max(start, offset), end

    def skip(self, batch: RecordBatch) -> int:
        """Acknowledge the records of ``batch`` that are in the set, and return how many.

        Costs O(1) for a batch outside the ranges, which is every batch but the first few after
        a restart.
        """
        ends = self._ends
        records = batch.records
        if not ends or not records or records[0].offset >= ends[-1]:
            return 0
        finished = [index for index, record in enumerate(records) if record.offset in self]
        batch.ack_many(finished)
        return len(finished)

    def forget_below(self, offset: int) -> None:
        """Drop the ranges that lie wholly below ``offset``; they will not be delivered again."""
        passed = bisect_right(self._ends, offset)
        if passed:
            del self._starts[:passed]
            del self._ends[:passed]
