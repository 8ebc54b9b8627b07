"""The values that travel: records, batches of them, events, outcomes.

Nothing here knows Kafka's client, a clock or the event loop.  A *record* is what a source
stores (bytes); an *event* is a normalized record; an *outcome* is what handling made of an
event.  The acknowledgement travels with them: every event knows its batch and its index there,
and :meth:`RecordBatch.ack` is all that a publisher needs to call.

What is made per record is a msgspec struct: making one costs a fifth of what it does with an
``__init__`` in Python.  Treat them as immutable all the same.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from itertools import count
from typing import Any, ClassVar, Protocol, TypeAlias

import msgspec

Headers: TypeAlias = Sequence[tuple[str, bytes]]
"""Record headers in order; names may repeat, as in Kafka."""

TRACEPARENT_MAX_BYTES = 256
"""Longest ``traceparent`` that is passed on; version 00 has 55 bytes, later ones may say more."""


class Permission(Enum):
    """Whether work on a batch may go on; asked before it is dispatched and before it is sent."""

    GO = "go"
    """Its records are ours."""
    WAIT = "wait"
    """They may be somebody else's by now: start nothing, send nothing, keep what there is."""
    NEVER = "never"
    """They are somebody else's: drop what was made of them."""


class Record(Protocol):
    """What a source stores: bytes with a place.  Kafka's decoded records fit as they are."""

    @property
    def offset(self) -> int:
        """Position in its partition."""
        ...

    @property
    def timestamp(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...

    @property
    def key(self) -> bytes | None:
        """Key bytes, opaque to us."""
        ...

    @property
    def value(self) -> bytes | None:
        """Value bytes; ``None`` is a tombstone."""
        ...

    @property
    def headers(self) -> Headers:
        """Headers in order."""
        ...


class SourceRecord:
    """A record from a source that has no record type of its own (WebSocket, RabbitMQ, tests)."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        offset: int = 0,
        timestamp: int = 0,
        headers: Headers = (),
    ) -> None:
        self.value = value
        self.key = key
        self.offset = offset
        self.timestamp = timestamp
        self.headers = headers


class Failure:
    """Why a record ends in the dead-letter topic.

    Attributes:
        code: ``decode``, ``schema``, ``version``, ``handler``, ``timeout``, ``too_large``,
            ``poison`` or ``batch``.
        detail: One line without payload data, at most 1 KiB when published.
        stage: ``normalize``, ``handle`` or ``publish``.
        handler: Name of the handler, or the empty string before there was one.
        attempts: How often it was tried.
    """

    __slots__ = ("attempts", "code", "detail", "handler", "stage")

    def __init__(
        self, code: str, detail: str, *, stage: str, handler: str = "", attempts: int = 1
    ) -> None:
        self.code = code
        self.detail = detail
        self.stage = stage
        self.handler = handler
        self.attempts = attempts

    def __repr__(self) -> str:
        return f"Failure({self.code!r}, {self.detail!r}, stage={self.stage!r})"


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
        attempts: Failed attempts by index, in this process or an earlier one, the most of any
            handler; ``None`` while nothing has failed.
        chained: Batches of results that another pipeline of this process is working on, on whose
            records some of ours wait; ``None`` if there never was one.
        left: Records that are not done yet.
        finishing: While it is closing, what was begun is followed through other pipelines of the
            process to its end.
        failure: Why all of it goes to the dead-letter topic unread, if so.
        dispatched: Records whose handling has begun and that are not parked.  With several
            handlers only what was parked is counted here, below zero; see ``begun``.
        begun: With several handlers: one byte per record, 1 when one of them has begun it.
        closing: The partition is being revoked: start nothing new of this batch.
        revoked: The partition is gone: nothing of this batch is dispatched, published or
            committed any more.
        serial: Rises from batch to batch; of two batches of one partition the later one has the
            higher.
    """

    __slots__ = (
        "attempts",
        "begun",
        "chained",
        "closing",
        "dispatched",
        "done",
        "epoch",
        "failure",
        "finishing",
        "left",
        "next_offset",
        "partition",
        "pending",
        "received_at_s",
        "records",
        "revoked",
        "serial",
        "size_bytes",
        "topic",
    )

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
        self.chained: set[RecordBatch] | None = None
        self.dispatched = 0
        self.begun: bytearray | None = None
        self.failure: Failure | None = None
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
        if self.begun is None:
            own = self.dispatched - (len(self.records) - self.left)
        else:
            open_ = int.from_bytes(self.begun) & ~int.from_bytes(self.done)
            own = open_.bit_count() + self.dispatched
        if self.chained and not self.finishing:
            own -= sum(batch.left - batch.in_flight for batch in self.chained)
        return max(0, own)

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

    def fan_out(self, effects: int) -> None:
        """Wait for ``effects`` acknowledgements of every record, one for each handler.

        From here on, what one handler has begun the others do as well, even while the batch is
        closing: what the first publishes would else be published again by the next owner.
        """
        if effects > 1:
            self.pending = array("I", [effects]) * len(self.records)
            self.begun = bytearray(len(self.records))

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
                self.on_complete()

    def ack_many(self, indexes: Iterable[int]) -> None:
        """:meth:`ack` for each of ``indexes``, in one call."""
        if self.pending is not None:
            for index in indexes:
                self.ack(index)
            return
        done = self.done
        left = self.left
        for index in indexes:
            if not done[index]:
                done[index] = 1
                left -= 1
        if left != self.left:
            self.left = left
            if not left:
                self.on_complete()

    def ack_all_but(self, indexes: Sequence[int]) -> None:
        """:meth:`ack` for every record except those at ``indexes`` (distinct).

        The usual case, a filter that drops most of a batch, costs only what is kept.
        """
        count = len(self.records)
        if self.pending is not None or self.left != count:
            kept = set(indexes)
            self.ack_many(index for index in range(count) if index not in kept)
            return
        done = bytearray(b"\x01") * count
        for index in indexes:
            done[index] = 0
        self.done = done
        self.left = len(indexes)
        if count and not indexes:
            self.on_complete()

    def dead_lettered(self, index: int) -> None:
        """The record's failure is durable in the dead-letter topic; called before its ack.

        Sources that answer their producer (WebSocket) override this; Kafka has nothing to tell.
        """

    def on_complete(self) -> None:
        """Every record is done.  Sources override this to release memory or answer producers."""


_NOWHERE = RecordBatch("", 0, (SourceRecord(None),), next_offset=1)
"""Where an event comes from that somebody made by hand, in a test."""


class Event(msgspec.Struct, eq=False):
    """One normalized record: what a handler sees.

    Attributes:
        data: The decoded value; a mapping for the ``json`` and ``log`` normalizers.  Shared by
            every handler of the record: treat as read-only.
        key: The record's key bytes, or ``None``.
        timestamp: Kafka's milliseconds since the Unix epoch.
        type: Event type (CloudEvents ``type``), or ``None``.
        headers: The record's headers in order.
        batch: The batch that it came in.
        index: Its place in that batch.
        attempts: How often handling was tried before, in this process or an earlier one.
    """

    data: Any
    key: bytes | None = None
    timestamp: int = 0
    type: str | None = None
    headers: Headers = ()
    batch: RecordBatch = _NOWHERE
    index: int = 0
    attempts: int = 0

    @property
    def topic(self) -> str:
        """The topic that it was read from."""
        return self.batch.topic

    @property
    def partition(self) -> int:
        """The partition that it was read from."""
        return self.batch.partition

    @property
    def offset(self) -> int:
        """Its offset in that partition."""
        return self.batch.records[self.index].offset

    @property
    def record_id(self) -> int | str:
        """What tells it apart from all others of its topic and partition, also after a restart.

        Its offset; behind another pipeline of the same process, where several results of one
        record have one offset, text that holds which of them it is.
        """
        return self.batch.record_id(self.index)

    @property
    def key_text(self) -> str:
        """The key as text; bytes that are no UTF-8 are escaped, no key is the empty string."""
        return "" if self.key is None else self.key.decode("utf-8", "backslashreplace")

    def __repr__(self) -> str:
        return f"Event({self.topic}/{self.partition}/{self.offset})"


class SameKey:
    """The type of :data:`SAME_KEY`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SAME_KEY"

    def __reduce__(self) -> str:
        return "SAME_KEY"  # still the same object after a journey between processes


SAME_KEY = SameKey()
"""A result under its event's own key."""


class Result:
    """One result of a handler, addressed: what to publish and where.

    A handler that returns a plain mapping publishes it to its configured ``output`` under the
    event's key; a ``Result`` overrides any part of that.

    Args:
        value: Anything that serializes to JSON; ``bytes`` go out as they are; ``None`` is a
            tombstone (it needs a key).
        topic: Topic name; ``None`` means the handler's ``output``.
        key: Key bytes or text; :data:`SAME_KEY` means the event's own key.
        headers: Extra headers, after ours.
        timestamp: Milliseconds; ``None`` lets the producer stamp it.
    """

    __slots__ = ("headers", "key", "timestamp", "topic", "value")

    def __init__(
        self,
        value: Any,
        *,
        topic: str | None = None,
        key: bytes | str | SameKey | None = SAME_KEY,
        headers: Mapping[str, str | bytes] | None = None,
        timestamp: int | None = None,
    ) -> None:
        self.value = value
        self.topic = topic
        self.key = key
        self.headers = headers
        self.timestamp = timestamp

    def __repr__(self) -> str:
        return f"Result({self.value!r}, topic={self.topic!r}, key={self.key!r})"


Results: TypeAlias = Sequence[Result] | dict[str, Any]


class Outcome(msgspec.Struct, eq=False):
    """What handling made of one record: results to publish, or a failure to dead-letter.

    Attributes:
        batch: The record's batch; ``batch.ack(index)`` once everything here is durable.
        index: The record's place in it.
        results: Addressed results, in order; empty acknowledges silently; a ``dict`` is one
            result to the handler's own output, which is nearly always the case.
        failure: Set instead of results when the record is to be dead-lettered.
        lane: None; what is finished keeps no order any more.
    """

    lane: ClassVar[None] = None
    batch: RecordBatch
    index: int
    results: Results = ()
    failure: Failure | None = None

    def __repr__(self) -> str:
        what = self.results if self.failure is None else self.failure
        return f"Outcome({self.batch.topic}/{self.batch.partition}[{self.index}]: {what!r})"


class Handled:
    """What a plain function made of a run of records of one batch: one mapping each.

    The same as an :class:`Outcome` for each of them, for the price of one.

    Attributes:
        batch: The records' batch.
        indexes: Their places in it; not empty.
        results: For each, the result to the handler's own output.
        lane: As for an :class:`Outcome`.
    """

    __slots__ = ("batch", "indexes", "results")

    lane: ClassVar[None] = None

    def __init__(
        self, batch: RecordBatch, indexes: list[int], results: list[dict[str, Any]]
    ) -> None:
        self.batch = batch
        self.indexes = indexes
        self.results = results

    def outcomes(self) -> list[Outcome]:
        """One by one."""
        batch = self.batch
        return [
            Outcome(batch, index, result)
            for index, result in zip(self.indexes, self.results, strict=True)
        ]


class EventBatch:
    """A record batch after normalizing: the decoded values beside their records.

    Attributes:
        batch: Where they come from.
        data: The decoded value of each record; a :class:`Failure` where it did not decode, and
            :data:`TOMBSTONE` where there was none.
        indexes: Places of the values that handlers may see, ascending; ``None`` means all.
        tombstones: Places of the null values.
        failed: Places of the values that did not decode; their dead letters are under way.
        types: The event type of each record, or ``None`` if the format has none.
    """

    __slots__ = ("batch", "data", "failed", "indexes", "tombstones", "types")

    def __init__(
        self,
        batch: RecordBatch,
        data: Sequence[Any],
        *,
        indexes: Sequence[int] | None = None,
        tombstones: Sequence[int] = (),
        failed: Sequence[int] = (),
        types: Sequence[str | None] | None = None,
    ) -> None:
        self.batch = batch
        self.data = data
        self.failed = failed
        self.indexes = indexes
        self.tombstones = tombstones
        self.types = types

    def __len__(self) -> int:
        return len(self.data)
