"""Events: records after normalizing, one by one and as the batch that they came in."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from service.events.batch import RecordBatch
from service.events.records import Headers, SourceRecord

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
        headers: The record's headers in order, then what its envelope has as such.
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


class Envelope(NamedTuple):
    """What was around the data of one event, by the normalizer."""

    type: str
    headers: Headers

    def around(self, event: Event) -> None:
        """Have ``event``, which has none of it yet, say so."""
        event.type = self.type
        if self.headers:
            event.headers = (*event.headers, *self.headers)


class EventBatch:
    """A record batch after normalizing: the decoded values beside their records.

    Attributes:
        batch: Where they come from.
        data: The decoded value of each record; a :class:`Failure` where it did not decode,
            :data:`TOMBSTONE` where there was none, and ``None`` where no handler wants it.
        indexes: Places of the values that handlers may see, ascending; ``None`` means all.
        tombstones: Places of the null values.
        failed: Places of the values that did not decode; their dead letters are under way.
        envelopes: What each record's format says beside the data; ``None`` if none does.
        chosen_by: The filter that chose ``indexes``, and would choose all of them again.
    """

    __slots__ = ("batch", "chosen_by", "data", "envelopes", "failed", "indexes", "tombstones")

    def __init__(
        self,
        batch: RecordBatch,
        data: Sequence[Any],
        *,
        indexes: Sequence[int] | None = None,
        tombstones: Sequence[int] = (),
        failed: Sequence[int] = (),
        envelopes: Sequence[Envelope | None] | None = None,
        chosen_by: object = None,
    ) -> None:
        self.batch = batch
        self.chosen_by = chosen_by
        self.data = data
        self.envelopes = envelopes
        self.failed = failed
        self.indexes = indexes
        self.tombstones = tombstones

    def __len__(self) -> int:
        return len(self.data)
