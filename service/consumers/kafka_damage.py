"""Where a stored batch ends whose header cannot be believed, because its checksum differs.

The next position to read is taken from it: one that is too high loses the good records behind
the batch or lies outside of the log, one that is too low reads the same batch again for ever.
Knows a stored batch only by what it is asked; decides nothing about policy.
"""

from collections.abc import Iterator
from typing import Any, Protocol


class Damaged(Protocol):
    """A batch of the client."""

    @property
    def next_offset(self) -> int:
        """Where its header says that it ends."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Its records; raises whatever a decoder may."""
        ...


def end_of(batch: Damaged, *, following: int | None, ends: range) -> int:
    """One past the last offset that ``batch`` covers, as far as that can be told.

    The batch behind it says best where it ends.  Without one, the header and the records are two
    witnesses; where they differ the lower one counts, since what is read twice at the end of a
    damaged batch is another dead letter, and what is passed over is lost.

    Args:
        batch: It.
        following: First offset of the batch behind it in the same answer.
        ends: Where it may end: one past its first offset up to the end of the log.
    """
    if following is not None and following in ends:
        return following
    claims = (batch.next_offset, _last_offset(batch) + 1)
    return min((claim for claim in claims if claim in ends), default=ends.start)


def _last_offset(batch: Damaged) -> int:
    """Offset of the last record, or -1 if the records cannot be decoded either."""
    last = -1
    try:
        for record in batch:
            last = record.offset
    except Exception:  # noqa: BLE001 -- codecs raise whatever they like
        return -1
    return last
