"""Record batches, the unit of flow, and which of their records are done."""

from array import array
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from enum import Enum
from itertools import count
from typing import ClassVar, Final

from service.events.failure import Failure
from service.events.records import Record

CHUNK_RECORDS: Final = 384
"""Records that are worked on at a time: in one large batch, or in small ones that go together.

So few that what is made of them is still in the processor's cache when the next step looks at it:
between 256 and 512 are alike, 1,024 took twice as long an event (`docs/performance.md`).
"""

CHUNK_BYTES: Final = 512 * 1024
"""The same in bytes of keys, values and headers; a single record may have more."""


class Permission(Enum):
    """Whether work on a batch may go on; asked before it is dispatched and before it is sent."""

    GO = "go"
    """Its records are ours."""
    WAIT = "wait"
    """They may be somebody else's by now: start nothing, send nothing, keep what there is."""
    NEVER = "never"
    """They are somebody else's: drop what was made of them."""


class Handover(Enum):
    """What becomes of a record that only some of its handlers have begun, when its batch closes."""

    FINISH = "finish"
    """The others do it as well: the next reader would have all of them do it."""
    AFRESH = "afresh"
    """They leave it, and so all do it again: nothing of what was made of it is visible."""
    BY_HANDLER = "by handler"
    """They leave it, and the next reader is told who is finished with it."""


_serials = count()


class RecordBatch:
    """A run of records of one partition, as fetched, and which of them are done.

    The unit of flow: channels carry batches, offsets are tracked per batch.  ``done`` has one
    byte per record, 1 when every effect of the record is durable.  A record may have more than
    one effect (several handlers, several results): :meth:`fan_out` and :meth:`hold` add effects,
    :meth:`ack` takes one away, and the last one marks the record.

    Args:
        topic: Where the records come from; for sources without topics the source's own name.
        partition: Partition number; 0 for sources without partitions.
        records: In offset order; offsets may have holes.
        next_offset: One past the last offset that this fetch covered, which can lie beyond the
            last record (transaction markers, compacted records).
        epoch: Number of the assignment it was fetched under.
        size_bytes: Memory held by the values, keys and headers.
        received_at_s: ``loop.time()`` of the fetch, for latency.

    Attributes:
        absent: By index, the handlers that another one has begun a record without: they have left
            it to the next reader, or wait for another attempt.
        attempts: Failed attempts by index, in this process or an earlier one, the most of any
            handler; ``None`` while nothing has failed.  For the commit.
        chained: Batches of results that another pipeline of this process is working on, on whose
            records some of ours wait; ``None`` if there never was one.
        counted: Whether its source counts by itself what came in and what is done.
        inherited: Those of an earlier process alone, which count for every handler here: what one
            fails of in this process is not the others' doing.
        left: Records that are not done yet.
        read: Whether its records were read from somewhere, where they are read again if they are
            not done.
        finishing: While it is closing, what was begun is followed through other pipelines of the
            process to its end.
        observer: Told when every record is done, before :meth:`on_complete`.
        failure: Why all of it goes to the dead-letter topic unread, if so.
        finished_by: By handler, the indexes that an earlier reader's had finished with.
        handlers: The names of those that it is for, if they are several.
        dispatched: Records whose handling has begun and that are not parked.  With several
            handlers only what was dropped is counted here, below zero; see ``begun``.
        begun: With several handlers: one byte per record, 1 when one of them has begun it.
        closing: The partition is being revoked: start nothing new of this batch.
        revoked: The partition is gone: nothing of this batch is dispatched, published or
            committed any more.
        serial: Rises from batch to batch; of two batches of one partition the later one has the
            higher.
    """

    __slots__ = (
        "absent",
        "attempts",
        "begun",
        "chained",
        "closing",
        "dispatched",
        "done",
        "epoch",
        "failure",
        "finished_by",
        "finishing",
        "handlers",
        "inherited",
        "left",
        "next_offset",
        "observer",
        "partition",
        "pending",
        "received_at_s",
        "records",
        "revoked",
        "serial",
        "size_bytes",
        "topic",
    )

    counted: ClassVar[bool] = False
    read: ClassVar[bool] = True

    def __init__(
        self,
        topic: str,
        partition: int,
        records: Sequence[Record],
        *,
        next_offset: int,
        epoch: int = 0,
        size_bytes: int = 0,
        received_at_s: float = 0.0,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.records = records
        self.next_offset = next_offset
        self.epoch = epoch
        self.size_bytes = size_bytes
        self.received_at_s = received_at_s
        self.done = bytearray(len(records))
        self.left = len(records)
        self.pending: array[int] | None = None
        self.attempts: dict[int, int] | None = None
        self.inherited: dict[int, int] | None = None
        self.chained: set[RecordBatch] | None = None
        self.dispatched = 0
        self.begun: bytearray | None = None
        self.observer: Callable[[RecordBatch], None] | None = None
        self.failure: Failure | None = None
        self.finished_by: Mapping[str, Container[int]] | None = None
        self.handlers: Collection[str] = ()
        self.absent: dict[int, set[str]] | None = None
        self.closing = False
        self.finishing = False
        self.revoked = False
        self.serial = next(_serials)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def in_flight(self) -> int:
        """Records whose handling or publishing is under way; never below 0.

        Those that an earlier owner finished are done before the batch is dispatched at all, and
        must not make up for what runs in another batch.

        A record whose result waits in another pipeline's channel is not: while the batch is
        closing nothing begins there either, unless it is ``finishing``.  One with several such
        results counts once for each, so this may be too low, never too high.
        """
        begun, done = self.begun, self.done
        if begun is None:
            own = self.dispatched - (len(self.records) - self.left)
        else:
            open_ = int.from_bytes(begun) & ~int.from_bytes(done)
            own = open_.bit_count() + self.dispatched
            if self.absent is not None:
                by_handler = self.handover is Handover.BY_HANDLER
                own -= sum(
                    begun[index] > done[index] and (not by_handler or self.is_shared_out(index))
                    for index in self.absent
                )
        if self.chained and not self.finishing:
            own -= sum(batch.left - batch.in_flight for batch in self.chained)
        return max(0, own)

    @property
    def handover(self) -> Handover:
        """What becomes of a record that only some of its handlers have begun."""
        return Handover.FINISH

    @property
    def path(self) -> str:
        """What tells its records apart from others with the same offsets: the topic, as a rule."""
        return self.topic

    def record_id(self, index: int) -> int | str:
        """What tells a record apart from all others of its topic and partition."""
        return self.records[index].offset

    def original(self, index: int) -> Record:
        """The record that the source delivered, of which the one at ``index`` may be a result."""
        return self.records[index]

    def fan_out(self, handlers: Collection[str]) -> None:
        """Wait for an acknowledgement of every record by each of ``handlers``.

        From here on, what one of them has begun is not simply left while the batch is closing:
        what the first publishes would be published again by the next reader.  See ``handover``.
        """
        if len(handlers) > 1:
            self.handlers = handlers
            self.pending = array("I", [len(handlers)]) * len(self.records)
            self.begun = bytearray(len(self.records))

    def set_aside(self, index: int, handler: str) -> None:
        """``handler`` has begun the record at ``index`` and waits for another attempt."""
        if self.begun is None:
            self.dispatched -= 1
        else:
            self._note_absent(index, handler)

    def take_up(self, index: int, handler: str) -> None:
        """What was :meth:`set_aside` goes on."""
        if self.begun is None:
            self.dispatched += 1
        elif self.absent is not None and (names := self.absent.get(index)) is not None:
            names.discard(handler)
            if not names:
                del self.absent[index]

    def leave(self, index: int, handler: str) -> None:
        """``handler`` leaves the record at ``index``, which is for several, to the next reader."""
        begun = self.begun
        if begun is None:
            return
        if self.handover is not Handover.BY_HANDLER:
            begun[index] = 0
        elif begun[index]:
            self._note_absent(index, handler)

    def _note_absent(self, index: int, handler: str) -> None:
        if self.absent is None:
            self.absent = {}
        self.absent.setdefault(index, set()).add(handler)

    def is_shared_out(self, index: int) -> bool:
        """Whether all handlers but absent ones are finished with the record at ``index``."""
        if self.absent is None or self.pending is None:
            return False
        return self.pending[index] <= len(self.absent.get(index, ()))

    def hold(self, index: int, effects: int = 1) -> None:
        """Wait for ``effects`` more acknowledgements of the record at ``index``."""
        if self.pending is None:
            self.pending = array("I", [1]) * len(self.records)
        self.pending[index] += effects

    def settle(self, index: int) -> None:
        """Wait for one acknowledgement of the record at ``index``, whatever was expected."""
        if self.pending is not None:
            self.pending[index] = 1

    def note_attempts(self, index: int, attempts: int) -> None:
        """Remember that the record at ``index`` failed ``attempts`` times, across a restart."""
        if self.attempts is None:
            self.attempts = {}
        self.attempts[index] = max(attempts, self.attempts.get(index, 0))

    def permission(self) -> Permission:
        """Whether work on this batch may be dispatched and published now.

        Sources that can lose a partition without being told in time override this.
        """
        return Permission.NEVER if self.revoked else Permission.GO

    def dropped(self, places: Sequence[int]) -> None:
        """What was made of the records at ``places`` will never be published."""
        self.dispatched -= len(places)

    def ack(self, index: int) -> None:
        """One effect of the record at ``index`` is durable; O(1), and idempotent once done.

        Safe to call after a revoke: the batch is then only garbage, and nobody reads it.
        """
        pending = self.pending
        if pending is not None and pending[index] > 1:
            pending[index] -= 1
        elif not self.done[index]:
            self.done[index] = 1
            self.left -= 1
            if not self.left:
                self._complete()

    def ack_many(self, indexes: Iterable[int]) -> None:
        """:meth:`ack` for each of ``indexes``, in one call."""
        pending, done, left = self.pending, self.done, self.left
        if pending is None:
            for index in indexes:
                if not done[index]:
                    done[index] = 1
                    left -= 1
        else:
            for index in indexes:
                if pending[index] > 1:
                    pending[index] -= 1
                elif not done[index]:
                    done[index] = 1
                    left -= 1
        if left != self.left:
            self.left = left
            if not left:
                self._complete()

    def ack_all_but(self, indexes: Sequence[int]) -> None:
        """:meth:`ack` for every record except those at ``indexes`` (distinct).

        The usual case, a filter that drops most of a batch, costs only what is kept.
        """
        count = len(self.records)
        if len(indexes) == count:
            return
        if self.pending is not None or self.left != count:
            kept = set(indexes)
            self.ack_many([index for index in range(count) if index not in kept])
            return
        done = bytearray(b"\x01") * count
        for index in indexes:
            done[index] = 0
        self.done = done
        self.left = len(indexes)
        if not indexes:
            self._complete()

    def dead_lettered(self, index: int) -> None:
        """The record's failure is durable in the dead-letter topic; called before its ack.

        Sources that answer their producer (WebSocket) override this; Kafka has nothing to tell.
        """

    def _complete(self) -> None:
        if self.observer is not None:
            self.observer(self)
        self.on_complete()

    def on_complete(self) -> None:
        """Every record is done.  Sources override this to release memory or answer producers."""
