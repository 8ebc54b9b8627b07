"""Results of one pipeline as the records of the next one, with one acknowledgement for both.

A record of a :class:`ChainedBatch` is a result that another pipeline made, and its
acknowledgement is that result's: it marks the record that the result was made of.  So a record
that came from Kafka is done when everything that any later pipeline made of it is durable, and
what a revocation says to the first batch holds for all behind it.

Pure: no channel, no client, no clock.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from service.events import Permission, Record, RecordBatch, SourceRecord

PassedOn: TypeAlias = Callable[[Sequence[int]], None]


class ChainedBatch(RecordBatch):
    """Results of records of one batch, in the order in which they were made.

    Topic, partition and offsets are those of the records that the results were made of: they
    name a place that exists, where an order, a handler's state and a redrive belong.  What tells
    several results of one record apart is :attr:`path`.

    >>> first = RecordBatch("orders", 0, [SourceRecord(b"a", offset=7)], next_offset=8)
    >>> result = SourceRecord(b"A", offset=7)
    >>> second = ChainedBatch(first, (0,), [result], via="parse/upper", passed_on=print)
    >>> second.path, second.record_id(0), second.original(0).value
    ('parse/upper/orders', 'parse/upper/7', b'a')
    >>> second.ack(0)
    (0,)
    >>> first.left
    0

    Args:
        upstream: The batch whose records the results were made of.
        places: For each result the index of its record there.
        records: The results.
        via: Pipeline and handler that made them, and which of a record's results they are.
        passed_on: Told the indexes of results that are done, before their records are.
        size_bytes: Memory held by the results.
        received_at_s: ``loop.time()`` when they were made, for latency.
    """

    __slots__ = ("_passed_on", "_places", "_via", "upstream")

    def __init__(
        self,
        upstream: RecordBatch,
        places: Sequence[int],
        records: Sequence[SourceRecord],
        *,
        via: str,
        passed_on: PassedOn,
        size_bytes: int = 0,
        received_at_s: float = 0.0,
    ) -> None:
        self.upstream = upstream
        self._places = places
        self._via = via
        self._passed_on = passed_on
        super().__init__(
            upstream.topic,
            upstream.partition,
            records,
            next_offset=upstream.next_offset,
            epoch=upstream.epoch,
            size_bytes=size_bytes,
            received_at_s=received_at_s,
        )
        if upstream.inherited is not None:
            known = upstream.inherited
            self.inherited = {at: known[place] for at, place in enumerate(places) if place in known}
        if upstream.chained is None:
            upstream.chained = set()
        upstream.chained.add(self)

    # -- what holds upstream holds here ----------------------------------------------------

    @property
    def closing(self) -> bool:  # plain in the base; here it follows
        """See :class:`~service.events.RecordBatch`."""
        return self.upstream.closing and not self.upstream.finishing

    @closing.setter
    def closing(self, value: bool) -> None:
        """Only the first batch of a chain is ever told."""

    @property
    def finishing(self) -> bool:
        """See :class:`~service.events.RecordBatch`."""
        return self.upstream.finishing

    @finishing.setter
    def finishing(self, value: bool) -> None:
        """Only the first batch of a chain is ever told."""

    @property
    def revoked(self) -> bool:
        """See :class:`~service.events.RecordBatch`."""
        return self.upstream.revoked

    @revoked.setter
    def revoked(self, value: bool) -> None:
        """Only the first batch of a chain is ever told."""

    def permission(self) -> Permission:
        """See :meth:`service.events.RecordBatch.permission`."""
        return self.upstream.permission()

    def place(self, index: int) -> int:
        """The index upstream of the record that the result at ``index`` was made of."""
        return self._places[index]

    @property
    def path(self) -> str:
        """The topic, behind what the records went through."""
        return f"{self._via}/{self.upstream.path}"

    def record_id(self, index: int) -> int | str:
        """See :meth:`service.events.RecordBatch.record_id`."""
        return f"{self._via}/{self.upstream.record_id(self._places[index])}"

    def original(self, index: int) -> Record:
        """What the source delivered; the result itself if that was a timer's, made of nothing."""
        record = self.upstream.original(self._places[index])
        return self.records[index] if record.key is None and record.value is None else record

    def note_attempts(self, index: int, attempts: int) -> None:
        """Remember it where it survives a restart, too."""
        super().note_attempts(index, attempts)
        self.upstream.note_attempts(self._places[index], attempts)

    def dead_lettered(self, index: int) -> None:
        """Tell the producer of the original, if it wants to know."""
        self.upstream.dead_lettered(self._places[index])

    # -- what is done here is done upstream ------------------------------------------------

    def ack(self, index: int) -> None:
        """See :meth:`service.events.RecordBatch.ack`."""
        left = self.left
        super().ack(index)
        if self.left != left:
            self._pass_on((index,))

    def ack_many(self, indexes: Iterable[int]) -> None:
        """See :meth:`service.events.RecordBatch.ack_many`."""
        if self.pending is not None:
            for index in indexes:
                self.ack(index)
            return
        done = self.done
        fresh = [index for index in dict.fromkeys(indexes) if not done[index]]
        super().ack_many(fresh)
        self._pass_on(fresh)

    def ack_all_but(self, indexes: Sequence[int]) -> None:
        """See :meth:`service.events.RecordBatch.ack_all_but`."""
        kept = set(indexes)
        self.ack_many([index for index in range(len(self.records)) if index not in kept])

    def on_complete(self) -> None:
        """Let go of the batch."""
        chained = self.upstream.chained
        if chained is not None:
            chained.discard(self)

    def _pass_on(self, indexes: Sequence[int]) -> None:
        if indexes:
            places = self._places
            self._passed_on(indexes)
            self.upstream.ack_many([places[index] for index in indexes])
