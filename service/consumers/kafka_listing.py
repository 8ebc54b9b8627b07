"""When a commit lists what is finished behind its offset.

A stuck record holds the offset, and what finishes behind it must be remembered all the same.  In a
partition that flows that is a moment's work, and listing it took a tenth of the processor's time.
Pure: the caller has the clock.
"""

from typing import Final

from service.delivery.offsets import PartitionOffsets

RANGES_AFTER_S: Final = 0.1
"""Age of the oldest unfinished record from which on commits list what is finished behind it."""
RANGES_EVERY_S: Final = 0.5
"""Time between two such lists while the offset moves on; while it does not it is the other."""


class Listing:
    """The lists of one partition."""

    __slots__ = ("_listed_at_s",)

    def __init__(self) -> None:
        self._listed_at_s = float("-inf")

    def due(self, offsets: PartitionOffsets, now_s: float, *, stuck: bool) -> bool:
        """Whether the commit that is about to be made has to list.

        Args:
            offsets: Progress of the partition.
            now_s: ``loop.time()``.
            stuck: Whether the offset is still the one that was committed last.
        """
        oldest = offsets.oldest_unfinished
        if oldest is not None and now_s - oldest.batch.received_at_s < RANGES_AFTER_S:
            return False
        return now_s - self._listed_at_s >= (RANGES_AFTER_S if stuck else RANGES_EVERY_S)

    def listed(self, now_s: float) -> None:
        """A commit lists."""
        self._listed_at_s = now_s
