"""A Kafka in memory: partitions, offsets, consumer groups, rebalances and faults on request.

What a test does to a broker: make topics, write and read records, look at commits, break
something.  The clients that the service talks to are in `service.testing.broker_clients`; both
behave as the protocols of ``service.consumers.base`` and ``service.publishers.base`` say, which
the contract tests compare with Apache Kafka.  Nothing here runs by itself: whatever happens,
happens inside the call that causes it, so tests are deterministic.
"""

import asyncio
import zlib
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, NamedTuple

from service.clock import wall_clock_ms
from service.consumers.base import AssignmentListener, CommittedOffset, TopicPartition
from service.errors import BrokerUnavailableError, ServiceError
from service.events import Headers, SourceRecord

DEFAULT_MAX_MESSAGE_BYTES: Final = 1_048_588
"""Kafka's default ``max.message.bytes``."""

_OFFSET: Final = attrgetter("offset")


class BrokerRecord(NamedTuple):
    """A record as it lies in the broker."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    def header(self, name: str) -> bytes | None:
        """Value of the first header called ``name``."""
        return next((value for header, value in self.headers if header == name), None)


class Commit(NamedTuple):
    """One accepted commit of one partition."""

    group: str
    partition: TopicPartition
    offset: CommittedOffset


@dataclass(slots=True)
class Log:
    """The records of one partition, from ``start`` to ``end``; offsets may have holes."""

    records: list[SourceRecord] = field(default_factory=list[SourceRecord])
    start: int = 0
    end: int = 0
    corrupt: set[int] = field(default_factory=set[int])

    def append(
        self, timestamp: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> int:
        """Store a record; returns its offset."""
        offset = self.end
        self.records.append(
            SourceRecord(value, key=key, offset=offset, timestamp=timestamp, headers=tuple(headers))
        )
        self.end += 1
        return offset

    def read(self, position: int, count: int) -> list[SourceRecord]:
        """Up to ``count`` records from ``position``."""
        first = bisect_left(self.records, position, key=_OFFSET)
        return self.records[first : first + count]


@dataclass(slots=True, eq=False)
class Member:
    """One member of a group: what it subscribes to and whom to tell."""

    topics: frozenset[str]
    listener: AssignmentListener
    assignment: frozenset[TopicPartition] = frozenset()
    generation: int = 0


class Group:
    """A consumer group with eager rebalances, as aiokafka has them."""

    def __init__(self, broker: "MemoryBroker") -> None:
        self._broker = broker
        self._turn = asyncio.Lock()
        self.members: list[Member] = []
        self.generation = 0
        self.rebalancing = False
        self.offsets: dict[TopicPartition, CommittedOffset] = {}

    async def join(self, member: Member) -> None:
        """Add ``member`` and share the partitions out anew."""
        self.members.append(member)
        await self.rebalance()

    async def leave(self, member: Member) -> None:
        """Remove ``member``; its own revoke is its own business, as with Kafka's client."""
        if member in self.members:
            self.members.remove(member)
            member.assignment = frozenset()
            member.generation = -1
            await self.rebalance()

    async def rebalance(self) -> None:
        """Revoke everything, wait for the members, share out, tell them.

        Cancel safety: a cancelled rebalance waits for nobody but is finished all the same.
        """
        async with self._turn:
            self.rebalancing = True
            try:
                await asyncio.gather(
                    *(
                        member.listener.on_revoked(member.assignment)
                        for member in self.members
                        if member.assignment
                    )
                )
            finally:
                self.rebalancing = False
                self._assign()

    def _assign(self) -> None:
        """Give each topic's partitions to its subscribers in turn."""
        self.generation += 1
        shares: dict[int, set[TopicPartition]] = {id(member): set() for member in self.members}
        for topic in sorted(self._broker.topics):
            subscribers = [member for member in self.members if topic in member.topics]
            if not subscribers:
                continue
            for partition in range(len(self._broker.topics[topic].logs)):
                member = subscribers[partition % len(subscribers)]
                shares[id(member)].add(TopicPartition(topic, partition))
        for member in self.members:
            member.assignment = frozenset(shares[id(member)])
            member.generation = self.generation
            member.listener.on_assigned(member.assignment)


@dataclass(slots=True)
class Topic:
    """The partitions of a topic and what it takes."""

    logs: list[Log]
    max_message_bytes: int


class MemoryBroker:
    """A broker for tests.

    Attributes:
        topics: By name.
        commits: Every commit that was accepted, in order.
        commit_faults: Errors that the next commits raise, one each.
        produce_faults: Errors that the next batches fail with, one each; a
            ``ProduceUnknownError`` comes after the batch is stored, as when its answer is lost.
        produce_delay_s: How long the broker takes to answer a batch.
        unreadable: Topics that nobody may read.
        down: Nothing is answered while true; see :meth:`stop` and :meth:`start`.
    """

    def __init__(self) -> None:
        self.transactional_epochs: dict[str, int] = {}
        self.topics: dict[str, Topic] = {}
        self.groups: dict[str, Group] = {}
        self.commits: list[Commit] = []
        self.commit_faults: deque[ServiceError] = deque()
        self.produce_faults: deque[ServiceError] = deque()
        self.produce_delay_s = 0.0
        self.unreadable: set[str] = set()
        self.down = False
        self._changed: asyncio.Event | None = None

    # -- topics and records ----------------------------------------------------------------

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        *,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        """Create ``name``.

        Raises:
            ValueError: If it exists.
        """
        if name in self.topics:
            raise ValueError(f"topic {name} exists")
        self.topics[name] = Topic([Log() for _ in range(partitions)], max_message_bytes)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Headers = (),
        timestamp: int | None = None,
    ) -> BrokerRecord:
        """Store a record.

        Args:
            topic: An existing topic.
            value: ``None`` is a tombstone.
            key: Records of one key go to one partition.
            partition: Where it goes; by the key if not given, without a key partition 0.
            headers: In order.
            timestamp: Milliseconds; the wall clock's if not given.
        """
        logs = self.topics[topic].logs
        if partition is None:
            partition = zlib.crc32(key or b"") % len(logs) if key is not None else 0
        stamp = wall_clock_ms() if timestamp is None else timestamp
        offset = logs[partition].append(stamp, key, value, headers)
        self.wake()
        return BrokerRecord(topic, partition, offset, stamp, key, value, tuple(headers))

    def records(self, topic: str, partition: int | None = None) -> list[BrokerRecord]:
        """What ``topic`` holds, in order within each partition."""
        return [
            BrokerRecord(
                topic,
                number,
                record.offset,
                record.timestamp,
                record.key,
                record.value,
                tuple(record.headers),
            )
            for number, log in enumerate(self.topics[topic].logs)
            if partition is None or number == partition
            for record in log.records
        ]

    def log(self, partition: TopicPartition) -> Log:
        """The log of ``partition``.

        Raises:
            BrokerUnavailableError: If there is no such partition.
        """
        topic = self.topics.get(partition.topic)
        if topic is None or not 0 <= partition.partition < len(topic.logs):
            raise BrokerUnavailableError(f"{partition} does not exist")
        return topic.logs[partition.partition]

    # -- groups ----------------------------------------------------------------------------

    def group(self, name: str) -> Group:
        """The group called ``name``, made when first asked for."""
        return self.groups.setdefault(name, Group(self))

    def committed(self, group: str, topic: str) -> Mapping[int, int]:
        """The next offset that ``group`` has committed, by partition of ``topic``."""
        return {
            at.partition: offset.next_offset
            for at, offset in sorted(self.group(group).offsets.items())
            if at.topic == topic
        }

    def lag(self, group: str, topic: str) -> int:
        """Records of ``topic`` that ``group`` has not committed."""
        committed = self.committed(group, topic)
        return sum(
            log.end - committed.get(number, log.start)
            for number, log in enumerate(self.topics[topic].logs)
        )

    # -- faults ----------------------------------------------------------------------------

    def stop(self) -> None:
        """Answer nothing until :meth:`start`: no records, no commits, no acknowledgements."""
        self.down = True
        self.wake()

    def start(self) -> None:
        """Answer again; what was stored is still there."""
        self.down = False
        self.wake()

    def skip(self, topic: str, partition: int = 0, count: int = 1) -> None:
        """Leave a hole of ``count`` offsets, as transaction markers and compaction do."""
        self.topics[topic].logs[partition].end += count
        self.wake()

    def truncate(self, topic: str, partition: int, start: int) -> None:
        """Forget everything below offset ``start``, as retention does."""
        log = self.topics[topic].logs[partition]
        log.start = start
        log.records = [record for record in log.records if record.offset >= start]

    def corrupt(self, topic: str, partition: int, offset: int) -> None:
        """Make the stored batch that holds ``offset`` impossible to decode."""
        self.topics[topic].logs[partition].corrupt.add(offset)

    def expire(self, group: str) -> None:
        """Let every member's session end unnoticed: commits are refused until it rejoins."""
        for member in self.group(group).members:
            member.generation = -1

    # -- waiting ---------------------------------------------------------------------------

    def wake(self) -> None:
        """Wake everybody who waits for something to happen."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def changed(self, timeout_s: float) -> None:
        """Wait until something has happened, at most ``timeout_s``.  Cancel safe."""
        if self._changed is None:
            self._changed = asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
