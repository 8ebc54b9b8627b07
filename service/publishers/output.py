"""One output partition: the batch being filled, the batch on the wire, and whom to acknowledge.

At most one batch of a partition is on the wire; what comes meanwhile fills the next one.  So
batches grow with the load by themselves, and order within the partition needs no other means.
Knows neither the producer nor a clock: the publisher drives it.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from service.events import Headers, RecordBatch
from service.publishers.base import BatchWriter

FULL_BYTES: Final = 192 * 1024
"""A batch of this size goes out without waiting for more."""
RECORD_OVERHEAD_BYTES: Final = 128
"""Kafka's own bytes of a record and its batch, beside key, value and headers; an upper bound."""


class EntryOwner(Protocol):
    """Whose record an entry is, told what became of it."""

    def refused(self, entry: "Entry", reason: str) -> None:
        """Its topic will never take ``entry``; answer with another record, or raise."""
        ...

    def failed(self) -> None:
        """A request with records of this owner failed; they are sent again."""
        ...

    def stored(self, topic: str, entries: Sequence["Entry"], count: int, *, since_s: float) -> None:
        """One request to ``topic`` was acknowledged; called before its inputs are.

        Args:
            topic: Where to.
            entries: All of the request, of other owners too.
            count: How many of them are this owner's.
            since_s: ``loop.time()`` when it was sent.
        """
        ...


class Entry(NamedTuple):
    """One output record, kept until it is acknowledged so that it can be sent again."""

    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    batch: RecordBatch
    """The input's batch, and its place there: what to acknowledge."""
    place: int
    owner: EntryOwner
    """Told what becomes of this record."""
    failed: bool = False
    """Whether this is a dead-letter record."""


class Sealed(NamedTuple):
    """A batch that is ready to go, or on the wire."""

    writer: BatchWriter | None
    """``None`` after a failure: it has to be filled anew."""
    entries: list[Entry]
    size_bytes: int


class OutputPartition:
    """One partition of one output topic.

    Attributes:
        limit_bytes: Largest batch that the topic takes.
        urgent: Nothing more is coming for now: send what there is.
        since_s: ``loop.time()`` when the open batch got its first record.
        on_wire: The batch that is being sent.
        sent_at_s: Since when.
        waiting_since_s: ``loop.time()`` since when it has held records without any of them being
            acknowledged, however often they were sent; 0 while it holds none.
        sealed: Batches that wait for it, oldest first.
    """

    __slots__ = (
        "entries",
        "limit_bytes",
        "on_wire",
        "partition",
        "sealed",
        "sent_at_s",
        "since_s",
        "size_bytes",
        "topic",
        "urgent",
        "waiting_since_s",
        "writer",
    )

    def __init__(self, topic: str, partition: int, limit_bytes: int) -> None:
        self.topic = topic
        self.limit_bytes = limit_bytes
        self.partition = partition
        self.writer: BatchWriter | None = None
        self.entries: list[Entry] = []
        self.size_bytes = 0
        self.urgent = False
        self.since_s = 0.0
        self.sent_at_s = 0.0
        self.waiting_since_s = 0.0
        self.on_wire: Sealed | None = None
        self.sealed: deque[Sealed] = deque()

    def seal(self) -> None:
        """Close the open batch, if there is one."""
        if self.entries:
            self.sealed.append(Sealed(self.writer, self.entries, self.size_bytes))
            self.writer = None
            self.entries = []
            self.size_bytes = 0

    def split(self, refused: Sealed) -> None:
        """Put a batch back that was refused for its size, as two halves."""
        entries = refused.entries
        middle = len(entries) // 2
        half_bytes = refused.size_bytes // 2
        self.sealed.appendleft(Sealed(None, entries[middle:], refused.size_bytes - half_bytes))
        self.sealed.appendleft(Sealed(None, entries[:middle], half_bytes))

    def unsent(self) -> None:
        """The producer is gone: everything unacknowledged has to be sent again, in order."""
        if self.on_wire is not None:
            self.sealed.appendleft(self.on_wire)
            self.on_wire = None
        self.seal()
        self.sealed = deque(Sealed(None, batch.entries, batch.size_bytes) for batch in self.sealed)

    @property
    def pending(self) -> int:
        """Records that are not acknowledged."""
        on_wire = 0 if self.on_wire is None else len(self.on_wire.entries)
        return on_wire + len(self.entries) + sum(len(batch.entries) for batch in self.sealed)


def record_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes of one record in a batch, with Kafka's own; an upper bound."""
    return (
        RECORD_OVERHEAD_BYTES
        + len(key or b"")
        + len(value or b"")
        + sum(len(name) + len(content or b"") + 10 for name, content in headers)
    )
