"""What a source is, and the narrow view of a Kafka consumer that ours is written against.

No Kafka client is imported here.  :class:`ConsumerClient` names only the calls that the Kafka
source uses; the edge to the real client implements it, and so does the in-memory broker of
``service.testing``.  In this module a ``position`` is the offset to be read next.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.channels import Sender
from service.errors import ServiceError
from service.events import Record, RecordBatch


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class CommittedOffset(NamedTuple):
    """What a group has committed for a partition: the next position and free text beside it."""

    next_offset: int
    metadata: str = ""


class CorruptBatchError(ServiceError):
    """A stored batch of records cannot be decoded: bad checksum, codec, header or size.

    Args:
        partition: Where it is.
        first_offset: First offset that it covers.
        next_offset: One past the last offset that it covers.
        reason: What the decoder said.
    """

    def __init__(
        self, partition: TopicPartition, first_offset: int, next_offset: int, reason: str
    ) -> None:
        super().__init__(f"{partition} offsets {first_offset} to {next_offset - 1}: {reason}")
        self.partition = partition
        self.first_offset = first_offset
        self.next_offset = next_offset
        self.reason = reason


class MixedBatchError(ServiceError):
    """Stored batches that are taken as one hold one that cannot be decoded.

    Args:
        parts: What they consist of, in offset order, to be decoded one by one.
    """

    def __init__(self, parts: "Sequence[StoredBatch]") -> None:
        super().__init__("one of several stored batches cannot be decoded")
        self.parts = parts


class OffsetGoneError(ServiceError):
    """The position is not (or no longer) in the log: truncated, expired or never existed."""

    def __init__(self, partition: TopicPartition, position: int) -> None:
        super().__init__(f"{partition}: offset {position} is out of range")
        self.partition = partition
        self.position = position


class ClientFailedError(ServiceError):
    """The client cannot go on and has to be replaced by a new one."""


class TopicsRefusedError(ClientFailedError):
    """The broker does not let us read topics; who reads others as well may go on with these.

    Args:
        topics: Their names.
    """

    def __init__(self, topics: Collection[str]) -> None:
        super().__init__(f"not allowed to read {', '.join(sorted(topics))}")
        self.topics = frozenset(topics)


class CommitRefusedError(ServiceError):
    """The group has moved on without this member; its offsets belong to somebody else now."""


class StoredBatch(Protocol):
    """A run of records as stored, or several such runs side by side; not yet decoded."""

    @property
    def first_offset(self) -> int:
        """First offset that it covers."""
        ...

    @property
    def next_offset(self) -> int:
        """One past the last offset that it covers, holes included."""
        ...

    @property
    def size_bytes(self) -> int:
        """Memory of its records; an estimate before :meth:`decode`."""
        ...

    def decode(self) -> Sequence[Record]:
        """Check and decode; called at most once.

        Raises:
            CorruptBatchError: If it cannot be decoded.
            MixedBatchError: If it consists of several, and one of them cannot be.
        """
        ...


class Fetched(NamedTuple):
    """What one fetch brought for one partition.

    Attributes:
        partition: Where it comes from.
        position: The position that was asked for; earlier records in ``batches`` are skipped.
        batches: In offset order.
    """

    partition: TopicPartition
    position: int
    batches: Sequence[StoredBatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHealth:
    """How the client is, in ``loop.time()`` seconds.

    Attributes:
        last_heartbeat_at_s: When the last heartbeat or join that the coordinator accepted was sent.
        last_metadata_at_s: Last answer of any broker.
        generation: Group generation; negative when the group no longer knows this member.
        failed: Why one of the client's own tasks ended, or ``None``.
        rebalancing: A rebalance is under way.
        missing: Topics that are to be read and that no broker knows of.
        hidden: Topics that are to be read and that no broker may tell us of.
        throttled_until_s: Until when a quota of a broker's holds this client back.
    """

    last_heartbeat_at_s: float
    last_metadata_at_s: float
    generation: int
    failed: str | None
    rebalancing: bool
    missing: Collection[str] = ()
    hidden: Collection[str] = ()
    throttled_until_s: float = 0.0


class AssignmentListener(Protocol):
    """Told of assignment changes, inside the client's own coordination task."""

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Finish with ``partitions``; the group waits until this returns.  Must not raise."""
        ...

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """``partitions`` is the whole new assignment.  Must neither wait nor raise."""
        ...


class ConsumerClient(Protocol):
    """A member of a consumer group, as far as the Kafka source needs one.

    Disposable: after a failure it is closed and a new one is made.  Every coroutine here ends
    within its deadline.
    """

    async def start(self, listener: AssignmentListener) -> None:
        """Connect and join.

        Raises:
            BrokerUnavailableError: If no broker answers in time.
        """
        ...

    async def stop(self) -> None:
        """Leave the group and close, whatever state the client is in.  Never raises."""
        ...

    def arrived(self) -> Collection[TopicPartition]:
        """Partitions that :meth:`take` may have something of; it has nothing of others."""
        ...

    def take(self, partitions: Collection[TopicPartition]) -> list[Fetched]:
        """What has been fetched for ``partitions`` since the last call; does not wait.

        Raises:
            OffsetGoneError: If a position is out of range.
            TopicsRefusedError: If a topic may not be read.
            ClientFailedError: If the client has to be replaced.
        """
        ...

    async def wait(self, timeout_s: float, until: asyncio.Future[None] | None = None) -> None:
        """Wait until something may have been fetched, at most ``timeout_s``.  Cancel safe.

        Args:
            timeout_s: Longest wait.
            until: Ends the wait too, when it is done; one that is not stays as it is.
        """
        ...

    def seek(self, partition: TopicPartition, position: int) -> None:
        """Read ``partition`` from ``position`` next; ignored if it is not assigned."""
        ...

    async def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Store the group's positions.

        Raises:
            TopicsRefusedError: If those of some topics are refused; the others are stored.
            CommitRefusedError: If the group no longer accepts this member's commits.
            BrokerUnavailableError: If the outcome is unknown.
        """
        ...

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, CommittedOffset]:
        """The group's stored positions; partitions without one are absent.

        Raises:
            BrokerUnavailableError: If no answer came in time.
        """
        ...

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """First offset that is still stored.

        Raises:
            BrokerUnavailableError: If no answer came in time.
        """
        ...

    async def end_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """One past the last stored offset.

        Raises:
            BrokerUnavailableError: If no answer came in time.
        """
        ...

    def end_offset_seen(self, partition: TopicPartition) -> int | None:
        """The end of the partition as of its last fetch, for lag; ``None`` before the first."""
        ...

    def readable_end_seen(self, partition: TopicPartition) -> int | None:
        """How far :meth:`take` could have come by the last fetch; ``None`` before the first.

        Below :meth:`end_offset_seen` while a transaction is open: what lies behind its first record
        is not handed out before it ends.
        """
        ...

    def health(self) -> ClientHealth:
        """How the client is right now."""
        ...


class SourceTracing(Protocol):
    """What a source tells of traced records."""

    @property
    def active(self) -> Mapping[int, object]:
        """Empty nearly always; :meth:`completed` and :meth:`dropped` need not be called then."""
        ...

    @property
    def uncommitted(self) -> Mapping[tuple[str, int], object]:
        """Empty nearly always; :meth:`committed` need not be called then."""
        ...

    def completed(self, batch: RecordBatch) -> None:
        """Every record of ``batch`` is done."""
        ...

    def dropped(self, batch: RecordBatch) -> None:
        """``batch`` was revoked."""
        ...

    def committed(self, positions: Iterable[tuple[str, int, int]], *, since_s: float) -> None:
        """Positions (topic, partition, next offset) were stored, asked for at ``since_s``."""
        ...


class Transactions(Protocol):
    """Commits positions together with results, partition by partition, instead of the group."""

    async def open(self, partition: tuple[str, int], charge: Callable[[int], object]) -> None:
        """Take the partition over from whoever worked on it; read its committed offset after.

        Args:
            partition: Which.
            charge: Told how many bytes more, or fewer, it holds in memory that are to count as
                input.

        Raises:
            BrokerUnavailableError: If no broker answers in time.
        """
        ...

    async def close(self, partitions: Collection[tuple[str, int]]) -> None:
        """Discard what is not committed and let go.  Never raises."""
        ...

    async def commit(
        self, partition: tuple[str, int], position: Callable[[], CommittedOffset | None]
    ) -> bool:
        """Commit what has become durable with the position that ``position`` gives.

        Returns:
            Whether there was anything to do.

        Raises:
            TransactionFailedError: If it is not certain that it was committed.
            FencedError: If another member owns the partition by now.
        """
        ...


class StateKeeper(Protocol):
    """Who keeps what handlers remember about a source's partitions."""

    @property
    def restores(self) -> bool:
        """Whether :meth:`restore` does something: what it brings up to date goes with a partition.

        Otherwise what is remembered is in memory only, and stays until :meth:`forget`.
        """
        ...

    async def restore(self, partition: TopicPartition) -> None:
        """Bring the state of a partition up to date; nothing of it is read before.

        Cancel safety: a cancelled restore begins anew at the next call.

        Raises:
            BrokerUnavailableError: If the state cannot be read in time.
        """
        ...

    def hasten(self) -> None:
        """There is no room for more before something is durable: let that be soon."""
        ...

    def release(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing of ``partitions`` is worked on any more; they may come straight back."""
        ...

    async def forget(self, partitions: Collection[TopicPartition]) -> None:
        """``partitions`` belong to another member now."""
        ...


class Source(Protocol):
    """Something that feeds a pipeline.

    Lifecycle: :meth:`run` reads until :meth:`stop_intake` is called or it is cancelled; after
    the pipeline has finished what was accepted, :meth:`close` commits and leaves.
    """

    name: str

    async def run(self, inbox: Sender[RecordBatch]) -> None:
        """Read until intake is stopped; returns when nothing more will be sent."""
        ...

    def stop_intake(self) -> None:
        """Accept nothing new; :meth:`run` returns soon."""
        ...

    async def close(self, deadline_s: float) -> None:
        """Commit what is durable and leave, within ``deadline_s`` seconds.  Never raises."""
        ...


def partition_set(partitions: Iterable[tuple[str, int]]) -> frozenset[TopicPartition]:
    """``partitions`` as our own type, whatever tuples the client uses."""
    return frozenset(TopicPartition(topic, partition) for topic, partition in partitions)
