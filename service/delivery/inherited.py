"""Failed attempts that an earlier owner of a partition noted, on their way to our batches.

They come with the commit that we begin from, by offset; each goes to the batch that its record is
delivered in, and what has not been delivered yet goes into our own commits as it came.
"""

from collections.abc import Iterable, Mapping

from service.events import RecordBatch


class InheritedAttempts:
    """Of one partition.

    Args:
        attempts: Failed attempts by offset.
    """

    __slots__ = ("_waiting",)

    def __init__(self, attempts: Mapping[int, int] | None = None) -> None:
        self._waiting = {} if attempts is None else dict(attempts)

    def give(self, batch: RecordBatch) -> None:
        """Tell ``batch``, which is delivered now, of the attempts of its records."""
        if not self._waiting:
            return
        places = {record.offset: index for index, record in enumerate(batch.records)}
        restored = {places[at]: n for at, n in self._waiting.items() if at in places}
        if restored:
            batch.attempts = restored
        self._waiting = {at: n for at, n in self._waiting.items() if at >= batch.next_offset}

    def with_those_of(self, batches: Iterable[RecordBatch]) -> dict[int, int]:
        """Failed attempts, by offset, of all that is not finished, in ``batches`` or to come."""
        attempts = dict(self._waiting)
        for batch in batches:
            if batch.left and batch.attempts:
                done, records = batch.done, batch.records
                for index, count in batch.attempts.items():
                    if not done[index]:
                        attempts[records[index].offset] = count
        return attempts
