"""What an earlier owner of a partition told of records that are not finished.

It comes with the commit that we begin from, by offset.  What is told of a record goes to the batch
that the record is delivered in; until it is delivered, it goes into our own commits as it came.
"""

from collections.abc import Iterable, Mapping

from service.delivery.handed_over import FinishedBy, above, tell, with_absent
from service.events import RecordBatch


class Inherited:
    """Of one partition.

    Args:
        attempts: Failed attempts by offset.
        finished_by: What single handlers are finished with while others are not.

    Attributes:
        finished_by: The same, and what :meth:`hand_over` has found since.
    """

    __slots__ = ("_waiting", "finished_by")

    def __init__(
        self,
        attempts: Mapping[int, int] | None = None,
        finished_by: FinishedBy | None = None,
    ) -> None:
        self._waiting = {} if attempts is None else dict(attempts)
        self.finished_by: FinishedBy = {} if finished_by is None else finished_by

    def give(self, batch: RecordBatch) -> None:
        """Tell ``batch``, which is delivered now, what is known of its records."""
        if self.finished_by:  # do not call for every batch
            tell(batch, self.finished_by)
        if not self._waiting:
            return
        places = {record.offset: index for index, record in enumerate(batch.records)}
        restored = {places[at]: n for at, n in self._waiting.items() if at in places}
        if restored:
            batch.inherited = restored
            batch.attempts = dict(restored)
        self._waiting = {at: n for at, n in self._waiting.items() if at >= batch.next_offset}

    def passed(self, position: int) -> None:
        """Nothing below ``position`` is told of any more."""
        if self.finished_by:
            self.finished_by = above(self.finished_by, position)

    def hand_over(self, batches: Iterable[RecordBatch]) -> None:
        """Remember which handlers are finished with what others have left of ``batches``.

        Args:
            batches: All of the partition that are not done, ascending.
        """
        self.finished_by = with_absent(self.finished_by, batches)

    def attempts_with(self, batches: Iterable[RecordBatch]) -> dict[int, int]:
        """Failed attempts, by offset, of all that is not finished, in ``batches`` or to come."""
        attempts = dict(self._waiting)
        for batch in batches:
            if batch.left and batch.attempts:
                done, records = batch.done, batch.records
                for index, count in batch.attempts.items():
                    if not done[index]:
                        attempts[records[index].offset] = count
        return attempts
