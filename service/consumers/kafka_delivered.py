"""What has been delivered of one partition and is not done, and what may still become of it.

Pure apart from the batches that it holds: no client, no clock.  Knows neither offsets nor commits,
nor why a partition goes: it is told so.
"""

from collections.abc import Sequence

from service.events import RecordBatch


class Delivered:
    """The batches of one partition.

    Attributes:
        live: Those of this epoch, oldest first, finished ones among them.
        kept: Those that are left of a partition which was lost without having been given up.
    """

    __slots__ = ("_dropped", "kept", "live")

    def __init__(self) -> None:
        self.live: list[RecordBatch] = []
        self.kept: list[RecordBatch] = []
        self._dropped: list[RecordBatch] = []

    def begin(self) -> None:
        """A new epoch: nothing of it has been delivered yet."""
        self.live = []

    def add(self, batch: RecordBatch) -> None:
        """``batch`` is delivered, in this epoch."""
        live = self.live
        if live and not live[0].left:
            # let go of finished ones at once: each holds the memory of its records
            self.live = live = [older for older in live if older.left]
        live.append(batch)

    def close(self, *, finishing: bool) -> None:
        """Let nothing more begin of this epoch; what runs may finish.

        Args:
            finishing: And may begin in the pipelines behind.
        """
        for batch in self.live:
            batch.finishing = finishing
            batch.closing = True

    def drop(self) -> None:
        """Nothing of this epoch may be published any more."""
        for batch in self.live:
            batch.revoked = True
        self._dropped = [batch for batch in (*self._dropped, *self.live) if batch.left]
        self.live = []

    def keep(self) -> None:
        """The epoch has ended, and what is left of it may yet be published."""
        self.kept = [batch for batch in (*self.kept, *self.live) if batch.left]
        self.live = []

    def drop_kept(self) -> Sequence[RecordBatch]:
        """Nothing that was kept may be published any more; returns what is left of it."""
        left = [batch for batch in self.kept if batch.left]
        for batch in left:
            batch.revoked = True
        self._dropped += left
        self.kept = []
        return left

    @property
    def in_flight(self) -> int:
        """Records of this epoch whose handling or publishing is under way."""
        return sum(batch.in_flight for batch in self.live if batch.left)

    @property
    def anything_begun(self) -> bool:
        """Whether a record of this epoch was begun and is not durable: in flight or parked."""
        return any(
            batch.in_flight > 0 or any(not batch.done[index] for index in batch.attempts or ())
            for batch in self.live
            if batch.left
        )

    @property
    def settled(self) -> bool:
        """Whether nothing of earlier epochs can still become durable."""
        self._dropped = [batch for batch in self._dropped if batch.in_flight > 0]
        return not self._dropped and all(batch.in_flight <= 0 for batch in self.kept)
