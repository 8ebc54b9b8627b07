"""How dashboards' topics are read, whoever implements it.

No Kafka client is imported here.  A reader belongs to no consumer group and commits nothing; it
sees only committed transactions.  It is disposable: after any error it is closed and a new one
is opened at the position that the hub knows.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from service.errors import ServiceError
from service.events import Record


class UnknownTopicError(ServiceError):
    """The broker says that there is no such topic, which it does of hidden ones too."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"{topic}: no such topic, or none that may be described")
        self.topic = topic


class TopicChunk(NamedTuple):
    """What was read of one partition.

    Attributes:
        partition: Its number.
        records: In offset order; may be empty.
        next_offset: Everything below it has been read, markers and holes included.
    """

    partition: int
    records: Sequence[Record]
    next_offset: int


class TopicReader(Protocol):
    """Reads every partition of one topic.

    Every coroutine but :meth:`read` ends within a deadline of its own, with
    :class:`~service.errors.BrokerUnavailableError`.
    """

    @property
    def outgrown(self) -> bool:
        """Whether the topic is known to have partitions by now that this does not read."""
        ...

    async def beginning(self) -> dict[int, int]:
        """First offset that is still stored, by partition."""
        ...

    async def end(self) -> dict[int, int]:
        """One past the last offset, by partition; what open transactions hide lies beyond."""
        ...

    async def at_timestamp(self, timestamp_ms: int) -> dict[int, int]:
        """First offset at or after a time, by partition; the end where there is none."""
        ...

    def seek(self, positions: Mapping[int, int]) -> None:
        """Read from ``positions`` next, and nothing of partitions that are not named."""
        ...

    async def read(self) -> list[TopicChunk]:
        """What comes next, waiting a moment for it; empty when there is nothing new.

        Raises:
            BrokerUnavailableError: If the reader has to be replaced.
            OffsetGoneError: If a position is no longer in the log.
        """
        ...

    async def close(self) -> None:
        """Close, whatever state it is in.  Never raises."""
        ...


class ReaderFactory(Protocol):
    """Opens readers."""

    async def open(self, topic: str) -> TopicReader:
        """A reader of all partitions that ``topic`` has now, positioned nowhere yet.

        Raises:
            BrokerUnavailableError: If the topic cannot be reached in time.
            UnknownTopicError: If the broker says that there is no such topic.
        """
        ...
