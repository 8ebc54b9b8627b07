"""Reads one topic for dashboards with aiokafka: no group, nothing committed, only committed data.

A stored batch that cannot be decoded is passed over, so that those behind it are read.

Every await on the client has a deadline, every error becomes one of ours, and what the client
hides (a fetch task that died, a partition that silently stops) is found by asking the broker for
the end of a log that has been quiet.  The client object is disposable.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as ClientPartition

from service.consumers.base import (
    ClientFailedError,
    CorruptBatchError,
    Fetched,
    TopicPartition,
)
from service.consumers.kafka_batches import decoded
from service.consumers.kafka_closing import quietly
from service.consumers.kafka_making import make_consumer
from service.consumers.kafka_tap import Tap, make_tap
from service.consumers.topic_reader import TopicChunk, UnknownTopicError
from service.errors import BrokerUnavailableError
from service.events import Record

log = structlog.get_logger(__name__)

OPTIONS: Final[Mapping[str, Any]] = {
    "fetch_max_bytes": 4 * 1024 * 1024,
    "max_partition_fetch_bytes": 512 * 1024,
    # The client leaves a partition whose records it has just handed over out of the next request,
    # so with one busy partition among quiet ones this is what its next records wait for.
    "fetch_max_wait_ms": 100,
    "request_timeout_ms": 10_000,
    "retry_backoff_ms": 200,
    "metadata_max_age_ms": 20_000,
    "group_id": None,
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "isolation_level": "read_committed",
}
"""Client settings; those of the connection come on top."""

CONNECT_TIMEOUT_S: Final = 15.0
CALL_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 3.0
POLL_S: Final = 0.5
"""How long a read waits for something new."""

QUIET_S: Final = 20.0
"""After so long without a record the broker is asked whether there should have been one."""

MAX_RECORDS: Final = 500
"""A read brings less than twice as many, or what is done with them would hold up the loop."""


class KafkaReaders:
    """Opens :class:`KafkaReader` objects.

    Args:
        connection: Client settings of the connection; asked at each open, so that secrets that
            have been replaced are used.
    """

    def __init__(self, connection: Callable[[], Mapping[str, Any]]) -> None:
        self._connection = connection

    async def open(self, topic: str) -> "KafkaReader":
        """See :meth:`service.consumers.topic_reader.ReaderFactory.open`."""
        try:
            # a client per reader: the files behind the connection may be missing for a moment
            consumer = make_consumer(**{**OPTIONS, **self._connection()})
        except (KafkaError, OSError, ValueError) as exc:
            raise BrokerUnavailableError(f"{topic}: cannot connect: {exc!r}") from exc
        reader = KafkaReader(consumer, topic)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await reader.connect()
        except (KafkaError, OSError, TimeoutError) as exc:
            await reader.close()
            raise BrokerUnavailableError(f"{topic}: cannot connect: {exc!r}") from exc
        except BaseException:
            await reader.close()
            raise
        return reader


class KafkaReader:
    """All partitions that a topic had when it was opened.

    Args:
        consumer: A client that is not started.
        topic: Its name.
    """

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._partitions: list[ClientPartition] = []
        self._reading: list[ClientPartition] = []
        self._positions: dict[int, int] = {}
        self._tap: Tap | None = None
        self._left: Iterator[TopicChunk] = iter(())  # of what was fetched
        self._heard_at_s = asyncio.get_running_loop().time()

    async def connect(self) -> None:
        """Start the client and find the topic's partitions.

        Raises:
            UnknownTopicError: If there is no such topic.
        """
        await self._consumer.start()
        # asked for all topics: asking for one by name would create it on brokers that do so
        if self._topic not in await self._consumer.topics():
            raise UnknownTopicError(self._topic)
        self._stand_still([ClientPartition(self._topic, 0)])
        while not (numbers := self._consumer.partitions_for_topic(self._topic)):  # noqa: ASYNC110 -- the client has no event for it
            await asyncio.sleep(0.05)
        self._partitions = [ClientPartition(self._topic, n) for n in sorted(numbers)]
        self._stand_still(self._partitions)
        self._tap = make_tap(self._consumer)

    def _stand_still(self, partitions: list[ClientPartition]) -> None:
        """Have the client know ``partitions`` and read none of them.

        While one has no position, the client comes to the error that nobody has committed one,
        and tells it later, whatever is read by then.
        """
        self._consumer.assign(partitions)
        self._consumer.pause(*partitions)
        for partition in partitions:
            self._consumer.seek(partition, 0)

    @property
    def outgrown(self) -> bool:
        """See :attr:`service.consumers.topic_reader.TopicReader.outgrown`."""
        numbers = self._consumer.partitions_for_topic(self._topic)
        return numbers is not None and len(numbers) > len(self._partitions)

    async def beginning(self) -> dict[int, int]:
        """See :class:`service.consumers.topic_reader.TopicReader`."""
        return _numbered(await self._call(self._consumer.beginning_offsets(self._partitions)))

    async def end(self) -> dict[int, int]:
        """See :class:`service.consumers.topic_reader.TopicReader`."""
        return _numbered(await self._call(self._consumer.end_offsets(self._partitions)))

    async def at_timestamp(self, timestamp_ms: int) -> dict[int, int]:
        """See :class:`service.consumers.topic_reader.TopicReader`."""
        asked = dict.fromkeys(self._partitions, timestamp_ms)
        found = await self._call(self._consumer.offsets_for_times(asked))
        end = await self.end()
        return {
            p.partition: end[p.partition] if at is None else at.offset for p, at in found.items()
        }

    def seek(self, positions: Mapping[int, int]) -> None:
        """See :class:`service.consumers.topic_reader.TopicReader`."""
        self._tap, self._left = make_tap(self._consumer), iter(())  # nothing of what came before
        named = [partition for partition in self._partitions if partition.partition in positions]
        if named != self._reading:
            self._consumer.assign(named)
            self._reading = named
        self._positions = {
            partition.partition: positions[partition.partition] for partition in named
        }
        for partition in named:
            self._consumer.seek(partition, positions[partition.partition])
        # what was not asked for meanwhile is no silence
        self._heard_at_s = asyncio.get_running_loop().time()

    async def read(self) -> list[TopicChunk]:
        """See :class:`service.consumers.topic_reader.TopicReader`."""
        runs = self._some()
        if not runs:
            try:
                runs = await self._fetched()
            except ClientFailedError as exc:
                raise BrokerUnavailableError(f"{self._topic}: cannot read: {exc}") from exc
        now_s = asyncio.get_running_loop().time()
        if runs:
            self._heard_at_s = now_s
        elif self._consumer.partitions_for_topic(self._topic) is None:
            raise BrokerUnavailableError(f"{self._topic}: the brokers do not know it any more")
        elif now_s - self._heard_at_s > QUIET_S:
            await self._check_quiet()
            self._heard_at_s = now_s
        return runs

    async def close(self) -> None:
        """See :class:`service.consumers.topic_reader.TopicReader`."""
        await quietly(self._consumer.stop(), STOP_TIMEOUT_S)

    async def _fetched(self) -> list[TopicChunk]:
        """Take what comes next, waiting a moment for it."""
        tap = self._tap
        if tap is None:
            return []
        wanted = {TopicPartition(at.topic, at.partition) for at in self._reading}
        fetched = tap.take(wanted)
        if not fetched:
            await tap.wait(POLL_S)
            fetched = tap.take(wanted)
        self._left = _runs(fetched)
        return self._some()

    def _some(self) -> list[TopicChunk]:
        """What is left of what was fetched, up to about so many records, a run a partition."""
        records: dict[int, list[Record]] = {}
        count = 0
        for number, some, next_offset in self._left:
            records.setdefault(number, []).extend(some)
            self._positions[number] = next_offset
            count += len(some)
            if count >= MAX_RECORDS:
                break
        return [
            TopicChunk(number, some, self._positions[number]) for number, some in records.items()
        ]

    async def _check_quiet(self) -> None:
        """Find out whether the silence is the topic's or the client's.

        Raises:
            BrokerUnavailableError: If it is the client's.
        """
        end = await self.end()
        if any(last > self._positions.get(number, last) for number, last in end.items()):
            raise BrokerUnavailableError(f"{self._topic}: has records that do not arrive")

    async def _call(self, call: Any) -> Any:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await call
        except (KafkaError, OSError, TimeoutError) as exc:
            raise BrokerUnavailableError(f"{self._topic}: {exc!r}") from exc


def _runs(fetched: Iterable[Fetched]) -> Iterator[TopicChunk]:
    """What was fetched, decoded when it is asked for."""
    for answer in fetched:
        number = answer.partition.partition
        for records, next_offset in decoded(answer.batches, _pass_over):
            # a stored batch comes as a whole, also when only its end was asked for
            asked = [record for record in records if record.offset >= answer.position]
            while len(asked) > MAX_RECORDS:
                some, asked = asked[:MAX_RECORDS], asked[MAX_RECORDS:]
                yield TopicChunk(number, some, asked[0].offset)
            yield TopicChunk(number, asked, next_offset)


def _pass_over(error: CorruptBatchError) -> None:
    log.error("stored batch cannot be decoded, dashboards do without it", reason=str(error))


def _numbered(offsets: Mapping[ClientPartition, int]) -> dict[int, int]:
    return {partition.partition: offset for partition, offset in offsets.items()}
