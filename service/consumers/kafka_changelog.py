"""Reads a partition of a changelog from beginning to end with aiokafka.

No group, nothing committed, only committed transactions.  Batches are taken as they were fetched
and decoded once, because a restore has a start of the service waiting for it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.errors import KafkaError

from service.consumers.base import (
    ClientFailedError,
    CorruptBatchError,
    OffsetGoneError,
    TopicPartition,
)
from service.consumers.kafka_batches import decoded
from service.consumers.kafka_closing import quietly
from service.consumers.kafka_making import make_consumer
from service.consumers.kafka_tap import Tap, client_partition, make_tap
from service.errors import BrokerUnavailableError
from service.state.restore import Chunk

log = structlog.get_logger(__name__)

PRIVATE_NAMES: Final = {
    "AIOKafkaConsumer": ("_client", "_fetcher"),
    "Fetcher": ("_isolation_level",),
}
"""What is used of the client beyond its public names, by class."""

OPTIONS: Final[Mapping[str, Any]] = {
    "fetch_max_bytes": 8 * 1024 * 1024,
    "max_partition_fetch_bytes": 2 * 1024 * 1024,
    "fetch_max_wait_ms": 100,
    "request_timeout_ms": 10_000,
    "retry_backoff_ms": 200,
    "group_id": None,
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "isolation_level": "read_committed",
}
"""Client settings; those of the connection come on top."""

CONNECT_TIMEOUT_S: Final = 15.0
CALL_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 3.0
SILENCE_S: Final = 90.0
"""Longest wait for progress; longer than a broker waits for an abandoned transaction to end."""
POLL_S: Final = 0.5


class KafkaChangelogs:
    """A :class:`~service.state.restore.ChangelogReader`; every read has a client of its own.

    Args:
        connection: Client settings of the connection; asked at each read, so that secrets that
            have been replaced are used.
    """

    def __init__(self, connection: Callable[[], Mapping[str, Any]]) -> None:
        self._connection = connection

    @asynccontextmanager
    async def read(
        self, topic: str, partition: int, start: int
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """See :class:`~service.state.restore.ChangelogReader`."""
        at = TopicPartition(topic, partition)
        try:
            consumer = make_consumer(**{**OPTIONS, **self._connection()})
        except (KafkaError, OSError, ValueError) as exc:
            raise BrokerUnavailableError(f"{at}: cannot connect: {exc!r}") from exc
        try:
            begin, end = await _connected(consumer, at)
            begin = max(begin, start)
            if begin < end:
                consumer.seek(client_partition(at), begin)
            yield _chunks(make_tap(consumer), at, begin, end)
        finally:
            await quietly(consumer.stop(), STOP_TIMEOUT_S)


async def _connected(consumer: AIOKafkaConsumer, at: TopicPartition) -> tuple[int, int]:
    """Connect and ask for the bounds of the log.

    Raises:
        BrokerUnavailableError: If no broker answers, or there is no such partition.
    """
    key = client_partition(at)
    silent = "no answer in time"
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await consumer.start()
            # asked for all topics: asking for one by name would create it on brokers that do so
            cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001
        if not _is_led(cluster, at):
            silent += ": it has no leader"
        async with asyncio.timeout(CALL_TIMEOUT_S):
            begin, end = await _bounds(consumer, key)
        consumer.assign([key])
    except TimeoutError as exc:
        raise BrokerUnavailableError(f"{at}: {silent}") from exc
    except (KafkaError, OSError) as exc:
        raise BrokerUnavailableError(f"{at}: {exc!r}") from exc
    return begin, end


async def _bounds(consumer: AIOKafkaConsumer, key: ClientPartition) -> tuple[int, int]:
    """Where the log begins and ends, open transactions included.

    One that reads what is committed is told where the first open transaction begins.  It may be
    that of another input topic, whose owner has died, and behind it lies what ours has committed.
    """
    fetcher: Any = consumer._fetcher  # noqa: SLF001 -- nothing is fetched yet
    reads = fetcher._isolation_level  # noqa: SLF001
    fetcher._isolation_level = READ_UNCOMMITTED  # noqa: SLF001
    try:
        begin: int = (await consumer.beginning_offsets([key]))[key]
        end: int = (await consumer.end_offsets([key]))[key]
    finally:
        fetcher._isolation_level = reads  # noqa: SLF001
    return begin, end


def _is_led(cluster: Any, at: TopicPartition) -> bool:
    """Whether a partition has a leader, who is the one to ask.

    Raises:
        BrokerUnavailableError: If there is no such partition: the client would wait for it.
    """
    there = cluster.partitions_for_topic(at.topic)
    if there is None:
        raise BrokerUnavailableError(f"{at.topic}: no such topic, or none that may be described")
    if at.partition not in there:
        raise BrokerUnavailableError(f"{at}: no such partition, the topic has {len(there)}")
    return at.partition in cluster.available_partitions_for_topic(at.topic)


async def _chunks(tap: Tap, at: TopicPartition, begin: int, end: int) -> AsyncGenerator[Chunk]:
    loop = asyncio.get_running_loop()
    position = begin
    heard_at_s = loop.time()
    while position < end:
        try:
            fetched = tap.take([at])
        except (ClientFailedError, OffsetGoneError) as exc:
            raise BrokerUnavailableError(f"{at}: {exc}") from exc
        for answer in fetched:
            for records, next_offset in decoded(answer.batches, _pass_over):
                position = max(position, next_offset)
                yield Chunk(records, position, end)
            heard_at_s = loop.time()
        if not fetched:
            if loop.time() - heard_at_s > SILENCE_S:
                raise BrokerUnavailableError(f"{at}: nothing read for {SILENCE_S:g} s")
            await tap.wait(POLL_S)


def _pass_over(error: CorruptBatchError) -> None:
    log.error("changelog batch cannot be decoded", reason=str(error))
