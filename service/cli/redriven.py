"""Which dead letters were sent back before: a consumer group's offset and its metadata.

Pure bookkeeping for one partition.  Filters pick records here and there, so the committed offset
alone cannot tell; what was sent beyond it travels in the commit's metadata, in the form that the
service itself uses for records that finish out of order.
"""

from bisect import bisect_right
from operator import itemgetter

from service.delivery.commit_metadata import Progress, decode, encode, would_overflow
from service.delivery.skips import Range, union


class Redriven:
    """The offsets of one partition that were sent back.

    Args:
        next_offset: As committed; -1 if nothing ever was.
        metadata: As committed beside it.
        begin: First offset that the partition still has.
    """

    def __init__(self, next_offset: int, metadata: str, begin: int) -> None:
        beyond = decode(next_offset, metadata).finished if next_offset >= 0 else ()
        self._next_offset = max(next_offset, begin)
        self._beyond: list[Range] = list(beyond)
        self._advance()

    def __contains__(self, offset: int) -> bool:
        place = bisect_right(self._beyond, offset, key=itemgetter(0)) - 1
        return offset < self._next_offset or (place >= 0 and offset < self._beyond[place][1])

    def add(self, offset: int, after: int | None = None) -> None:
        """``offset`` was sent back and acknowledged.

        Args:
            offset: Which.
            after: First of the offsets right before it that hold no dead letter, if there are any:
                transaction markers, of which a pipeline with exactly-once delivery writes one
                behind every few letters, what was compacted away, and records of others.  Without
                them each letter would be a range of its own, and the metadata soon be full.
        """
        first = offset if after is None else min(after, offset)
        self._beyond = union(self._beyond, [(first, offset + 1)])
        self._advance()

    def has_room_for(self, offset: int) -> bool:
        """Whether adding ``offset`` would still fit the metadata."""
        return not would_overflow(self._next_offset, self._beyond, offset + 1)

    def commit(self) -> tuple[int, str]:
        """Next offset and metadata to commit."""
        return self._next_offset, encode(self._next_offset, Progress(finished=tuple(self._beyond)))

    def _advance(self) -> None:
        while self._beyond and self._beyond[0][0] <= self._next_offset:
            self._next_offset = max(self._next_offset, self._beyond.pop(0)[1])
