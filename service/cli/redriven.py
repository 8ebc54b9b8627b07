"""Which dead letters were sent back before: a consumer group's offset and its metadata.

Pure bookkeeping for one partition.  Filters pick records here and there, so the committed offset
alone cannot tell; what was sent beyond it travels in the commit's metadata, in the form that the
service itself uses for records that finish out of order.
"""

from service.delivery.commit_metadata import Progress, decode, encode, would_overflow
from service.delivery.skips import Range


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
        self._beyond = {offset for start, end in beyond for offset in range(start, end)}
        self._advance()

    def __contains__(self, offset: int) -> bool:
        return offset < self._next_offset or offset in self._beyond

    def add(self, offset: int) -> None:
        """``offset`` was sent back and acknowledged."""
        self._beyond.add(offset)
        self._advance()

    def has_room_for(self, offset: int) -> bool:
        """Whether adding ``offset`` would still fit the metadata."""
        return not would_overflow(self._next_offset, self._ranges(), offset + 1)

    def commit(self) -> tuple[int, str]:
        """Next offset and metadata to commit."""
        return self._next_offset, encode(self._next_offset, Progress(finished=self._ranges()))

    def _advance(self) -> None:
        while self._next_offset in self._beyond:
            self._next_offset += 1
        self._beyond = {offset for offset in self._beyond if offset > self._next_offset}

    def _ranges(self) -> tuple[Range, ...]:
        ranges: list[Range] = []
        for offset in sorted(self._beyond):
            if ranges and ranges[-1][1] == offset:
                ranges[-1] = (ranges[-1][0], offset + 1)
            else:
                ranges.append((offset, offset + 1))
        return tuple(ranges)
