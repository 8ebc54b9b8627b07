"""The narrow view of a Kafka producer that the publisher is written against.

No Kafka client is imported here.  The edge to the real client implements these protocols, and
so does the in-memory broker of ``service.testing``.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from service.errors import ServiceError
from service.events import Headers, Permission, RecordBatch


class ProduceFailedError(ServiceError):
    """A batch was refused for good; none of its records is stored.

    After it the producer has to be replaced: its sequence numbers have a gap.

    Args:
        reason: What the broker or the client said.
        too_large: The broker refused it for its size.
    """

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.too_large = too_large


class ProduceUnknownError(ServiceError):
    """It is not known whether the batch is stored; the producer has to be replaced."""


class FewerPartitionsError(ServiceError):
    """A topic has lost partitions: it was deleted and made again.

    Args:
        topic: The topic.
        partitions: How many it has now.
    """

    def __init__(self, topic: str, partitions: int) -> None:
        super().__init__(f"topic {topic} has only {partitions} partitions now")
        self.topic = topic
        self.partitions = partitions


LONGEST_MS: Final = 2**63 - 1
"""Kafka's way to say that a time has no limit."""


class TopicInfo(NamedTuple):
    """What a topic takes.

    Attributes:
        partitions: How many it has.
        max_message_bytes: Largest record batch that it takes, and so the largest record.
        needs_key: Whether it takes only records with a key, because it is compacted.
        ahead_max_ms: How far ahead of the broker's clock a record's time may be.
        behind_max_ms: How far behind it.
    """

    partitions: int
    max_message_bytes: int
    needs_key: bool = False
    ahead_max_ms: int = LONGEST_MS
    behind_max_ms: int = LONGEST_MS


Row: TypeAlias = tuple[int | None, bytes | None, bytes | None, list[tuple[str, bytes]]]
"""A record as :meth:`BatchWriter.extend` takes it: timestamp, key, value, list of headers."""


class BatchWriter(Protocol):
    """One produce batch being filled for one partition."""

    @property
    def size_bytes(self) -> int:
        """Its size so far."""
        ...

    @property
    def count(self) -> int:
        """Its records so far."""
        ...

    def append(
        self, timestamp_ms: int | None, key: bytes | None, value: bytes | None, headers: Headers
    ) -> bool:
        """Add a record; ``False`` when the batch is full and took nothing."""
        ...

    def extend(self, rows: Sequence[Row], start: int) -> int:
        """Add ``rows`` from ``start`` on, until the batch is full.

        Args:
            rows: What :meth:`append` takes, with lists of headers.
            start: Index of the first row.

        Returns:
            How many were added.
        """
        ...

    def rows(self) -> list[Row]:
        """What was added, to be given to another batch; nothing may be added afterwards."""
        ...


class ProducerClient(Protocol):
    """An idempotent producer, as far as the publisher needs one.  Disposable."""

    async def start(self) -> None:
        """Connect.

        Raises:
            BrokerUnavailableError: If no broker answers in time.
        """
        ...

    async def stop(self, deadline_s: float) -> None:
        """Close within ``deadline_s``, whatever state it is in.  Never raises."""
        ...

    async def topic_info(self, topic: str) -> TopicInfo:
        """What the publisher must know before it writes to ``topic``.

        Raises:
            BrokerUnavailableError: If the topic stays unknown until the deadline.
        """
        ...

    async def find(self, topic: str) -> None:
        """Have the brokers tell of ``topic``, so that :meth:`partitions` knows of it.

        Raises:
            BrokerUnavailableError: If it stays unknown until the deadline.
        """
        ...

    def partitions(self, topic: str) -> int | None:
        """How many partitions ``topic`` has by what the brokers told last; asks nobody.

        ``None`` if it is not there, or nobody has asked for it.
        """
        ...

    @property
    def heard_s(self) -> float:
        """``loop.time()`` of the last answer of a broker, whatever it said."""
        ...

    def new_batch(self) -> BatchWriter:
        """An empty batch of at most the configured size."""
        ...

    async def send(
        self,
        topic: str,
        partition: int,
        batch: BatchWriter,
        *,
        permission: Callable[[], Permission] | None = None,
    ) -> "asyncio.Future[int]":
        """Queue ``batch``; batches of one partition are stored in the order of these calls.

        The caller has at most one unresolved batch a partition.

        Args:
            topic: Output topic.
            partition: Its partition.
            batch: One of :meth:`new_batch`.
            permission: Asked whenever the batch is about to be written to a socket: if it has to
                wait, the client keeps it and asks again; if it never may, the batch fails.

        Returns:
            A future of the base offset; it fails with ``ProduceFailedError``,
            ``ProduceUnknownError`` or ``FencedError``.
        """
        ...

    def failed(self) -> str | None:
        """Why one of the client's own tasks ended, or ``None``."""
        ...


class OutputTracing(Protocol):
    """What is told of outputs of traced records."""

    @property
    def active(self) -> Mapping[int, object]:
        """By ``id(batch)``; the methods need not be called for a batch that is not in it."""
        ...

    def outgoing(self, batch: RecordBatch, index: int) -> bytes | None:
        """The ``traceparent`` of a record's outputs."""
        ...

    def failed(self, batch: RecordBatch, index: int, code: str, detail: str = "") -> None:
        """A record goes to the dead-letter topic."""
        ...

    def sent(
        self, topic: str, records: Iterable[tuple[RecordBatch, int]], *, since_s: float
    ) -> None:
        """A request with outputs of ``records`` was acknowledged."""
        ...


class TransactionalClient(ProducerClient, Protocol):
    """A producer with a transactional id; starting it fences every older one with the same id."""

    async def begin(self) -> None:
        """Open a transaction.

        Raises:
            FencedError: If another producer has taken over.
            ProduceUnknownError: If it did not work in time.
        """
        ...

    async def send_offsets(
        self, group: str, offsets: Mapping[tuple[str, int], tuple[int, str]]
    ) -> None:
        """Make the group's positions part of the transaction.

        Raises:
            FencedError: If another producer has taken over.
            ProduceUnknownError: If the outcome is unknown.
        """
        ...

    async def commit(self) -> None:
        """Make everything in the transaction visible.

        Raises:
            FencedError: If another producer has taken over.
            ProduceUnknownError: If the outcome is unknown.
        """
        ...

    async def abort(self) -> None:
        """Give the transaction up, as far as possible.  Never raises."""
        ...
