"""Outcomes: what handling made of an event."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import msgspec

from service.events.batch import RecordBatch
from service.events.failure import Failure


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

    @property
    def plain(self) -> bool:
        """Whether it is a mapping with at most an address around it: a topic, a key."""
        return type(self.value) is dict and self.headers is None and self.timestamp is None

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

    @property
    def count(self) -> int:
        """How many results there are to publish."""
        if self.failure is not None:
            return 0
        return 1 if isinstance(self.results, dict) else len(self.results)

    def __repr__(self) -> str:
        what = self.results if self.failure is None else self.failure
        return f"Outcome({self.batch.topic}/{self.batch.partition}[{self.index}]: {what!r})"


class Handled:
    """What handling made of a run of records of one batch: one plain result each.

    The same as an :class:`Outcome` for each of them, for the price of one.

    Attributes:
        batch: The records' batch.
        indexes: Their places in it; not empty.
        results: For each a mapping, the result to the handler's own output under the record's key,
            or a :class:`Result` of a mapping that may name another topic or key.
        addressed: Whether there may be a ``Result`` among them.
        lane: As for an :class:`Outcome`.
    """

    __slots__ = ("addressed", "batch", "indexes", "results")

    lane: ClassVar[None] = None

    def __init__(
        self,
        batch: RecordBatch,
        indexes: list[int],
        results: Sequence[dict[str, Any] | Result],
        *,
        addressed: bool = False,
    ) -> None:
        self.batch = batch
        self.indexes = indexes
        self.results = results
        self.addressed = addressed

    def outcomes(self) -> list[Outcome]:
        """One by one."""
        batch = self.batch
        return [
            Outcome(batch, index, (result,) if isinstance(result, Result) else result)
            for index, result in zip(self.indexes, self.results, strict=True)
        ]
