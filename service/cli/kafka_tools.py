"""The commands' edge to Kafka: topics, configs, plain reading and writing, a group's offsets.

The only file of ``service.cli`` that imports the client.  Nothing here is on the service's own
path: no group is joined and no rebalance can happen.  Each await on the client has a deadline
(several of its calls retry for ever), and its exceptions end here.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.structs import OffsetAndMetadata

from service.app.connection import connection_options
from service.cli.exit_codes import CONFIGURATION, TEMPORARY
from service.errors import BrokerUnavailableError, ConfigurationError, ServiceError
from service.events import Headers
from service.settings import KafkaSettings

CALL_S = 10.0
"""Longest wait for one call to the broker."""
_STOP_S = 5.0
_REPLICAS = 3
_POLL_MS = 200
_SETTLE_S = 0.1
_STARTING = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
_TOPIC_NOT_AUTHORIZED = TopicAuthorizationFailedError.errno


class KafkaToolError(ServiceError):
    """The broker refused, with its own words."""

    exit_code = TEMPORARY


class AccessDeniedError(KafkaToolError):
    """The broker refused because this user may not."""

    exit_code = CONFIGURATION


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it lies in Kafka."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Committed:
    """What a group has committed for a partition; ``next_offset`` is -1 if nothing."""

    next_offset: int
    metadata: str


Commit: TypeAlias = Callable[[Mapping[int, tuple[int, str]]], Awaitable[None]]
"""Commits next offset and metadata per partition."""


class KafkaTools:
    """Clients made when first needed, and closed together by :func:`kafka_tools`.

    Every method raises ``BrokerUnavailableError`` when no broker answers in time,
    :class:`AccessDeniedError` when it may not, and :class:`KafkaToolError` when the broker refuses
    otherwise.

    Args:
        kafka: Where the brokers are.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._options = connection_options(kafka)
        self._admin: Any = None
        self._producer: Any = None

    async def partitions_of(self, topic: str) -> int:
        """Number of partitions of ``topic``.

        Raises:
            ConfigurationError: If there is no such topic.
        """
        count = (await self.partitions([topic]))[topic]
        if count is None:
            raise ConfigurationError([f"there is no topic {topic}"])
        return count

    async def partitions(self, topics: Iterable[str]) -> dict[str, int | None]:
        """Number of partitions of each topic; ``None`` if there is no such topic."""
        wanted = list(topics)
        described = await self._call(await self._admin_client(), "describe_topics", wanted)
        found: dict[str, int | None] = dict.fromkeys(wanted)
        for topic in described:
            if topic["error_code"] == _TOPIC_NOT_AUTHORIZED:
                raise AccessDeniedError(f"topic {topic['topic']}: may not be described")
            if not topic["error_code"]:
                found[topic["topic"]] = len(topic["partitions"])
        return found

    async def create_topic(
        self,
        topic: str,
        partitions: int,
        replication_factor: int | None = None,
        configs: Mapping[str, str] | None = None,
    ) -> bool:
        """Create ``topic``; ``False`` if it exists.  Three replicas unless given, or one a broker.

        Returns once every partition has a leader.
        """
        admin = await self._admin_client()
        if replication_factor is None:
            cluster = await self._call(admin, "describe_cluster")
            replication_factor = min(_REPLICAS, len(cluster["brokers"]))
        new = NewTopic(topic, partitions, replication_factor, topic_configs=configs or {})
        response = await self._call(admin, "create_topics", [new])
        for name, code, *detail in response.topic_errors:
            if code == TopicAlreadyExistsError.errno:
                return False
            if code:
                raise _refusal(for_code(code)(*detail), f"topic {name}")
        async with _deadline(f"topic {topic} has no leader"):
            while (await self.partitions([topic]))[topic] != partitions:  # noqa: ASYNC110 -- a broker tells of nothing
                await asyncio.sleep(_SETTLE_S)
        return True

    async def topic_configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """The settings of each topic that may be looked at, by name."""
        admin = await self._admin_client()
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        found: dict[str, dict[str, str]] = {}
        for response in await self._call(admin, "describe_configs", resources):
            for code, _message, _kind, name, entries in response.resources:
                if not code:
                    found[name] = {entry[0]: entry[1] for entry in entries}
        return found

    async def committed(self, group: str, topic: str, partitions: int) -> dict[int, Committed]:
        """What ``group`` has committed for each partition of ``topic``."""
        admin = await self._admin_client()
        wanted = [TopicPartition(topic, partition) for partition in range(partitions)]
        async with _deadline(f"group {group} has no coordinator"):
            found = await self._group_offsets(admin, group, wanted)
        return {
            at.partition: Committed(found[at].offset, found[at].metadata or "")
            if at in found
            else Committed(-1, "")
            for at in wanted
        }

    async def _group_offsets(self, admin: Any, group: str, wanted: list[Any]) -> Any:
        while True:
            try:
                # with its metadata, which the consumer's own committed() leaves out
                return await admin.list_consumer_group_offsets(group, partitions=wanted)
            except _STARTING:  # the first look at any group makes the broker create its topic
                await asyncio.sleep(_SETTLE_S)
            except KafkaError as error:
                raise _refusal(error, f"group {group}") from error

    async def members(self, group: str) -> int:
        """How many members ``group`` has now; 0 if there is no such group."""
        admin = await self._admin_client()
        async with _deadline(f"group {group} has no coordinator"):
            answers = await self._groups(admin, group)
        # error code, group, state, protocol type, protocol, members
        return sum(len(described[5]) for answer in answers for described in answer.groups)

    async def _groups(self, admin: Any, group: str) -> Any:
        while True:
            try:
                return await admin.describe_consumer_groups([group])
            except _STARTING:  # as for the offsets
                await asyncio.sleep(_SETTLE_S)
            except KafkaError as error:
                raise _refusal(error, f"group {group}") from error

    @asynccontextmanager
    async def committing(
        self, group: str, topic: str, partitions: Iterable[int]
    ) -> AsyncGenerator[Commit]:
        """Commits for a group that has no members: next offset and metadata per partition."""
        async with self._consumer(group_id=group) as consumer:
            consumer.assign([TopicPartition(topic, partition) for partition in partitions])

            async def commit(offsets: Mapping[int, tuple[int, str]]) -> None:
                await self._call(
                    consumer,
                    "commit",
                    {
                        TopicPartition(topic, partition): OffsetAndMetadata(*committed)
                        for partition, committed in offsets.items()
                    },
                )

            yield commit

    async def watermarks(self, topic: str, partitions: int) -> dict[int, tuple[int, int]]:
        """First and next offset of each partition."""
        async with self._consumer() as consumer:
            wanted = [TopicPartition(topic, partition) for partition in range(partitions)]
            begin = await self._call(consumer, "beginning_offsets", wanted)
            end = await self._call(consumer, "end_offsets", wanted)
        return {at.partition: (begin[at], end[at]) for at in wanted}

    async def offsets_at(
        self, topic: str, partitions: int, timestamp: int
    ) -> dict[int, int | None]:
        """First offset at or after ``timestamp`` (ms) per partition; ``None`` if there is none."""
        async with self._consumer() as consumer:
            wanted = {TopicPartition(topic, number): timestamp for number in range(partitions)}
            found = await self._call(consumer, "offsets_for_times", wanted)
        return {at.partition: None if found[at] is None else found[at].offset for at in wanted}

    async def delete_before(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Delete the records below each partition's offset, for good."""
        admin = await self._admin_client()
        wanted = {
            TopicPartition(topic, partition): RecordsToDelete(offset)
            for partition, offset in offsets.items()
        }
        await self._call(admin, "delete_records", wanted)

    async def read(
        self,
        topic: str,
        starts: Mapping[int, int],
        ends: Mapping[int, int] | None = None,
    ) -> AsyncGenerator[list[StoredRecord]]:
        """Records of ``topic`` in chunks, each partition from its start on.

        Args:
            topic: Topic name.
            starts: First offset per partition.
            ends: Stop before these offsets, when all are reached; without them go on for ever.
        """
        if ends is not None and all(starts[number] >= ends[number] for number in starts):
            return
        async with self._consumer(isolation_level="read_committed") as consumer:
            assigned = [TopicPartition(topic, partition) for partition in starts]
            consumer.assign(assigned)
            for at in assigned:
                consumer.seek(at, starts[at.partition])
            while ends is None or await self._unread(consumer, assigned, ends):
                try:
                    # a get is never cancelled for its time: that would leak a fetch
                    fetched = await consumer.getmany(timeout_ms=_POLL_MS)
                except KafkaError as error:
                    raise _refusal(error, f"topic {topic}") from error
                for records in fetched.values():
                    chunk = [
                        StoredRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value,
                                     r.headers)
                        for r in records
                        if ends is None or r.offset < ends[r.partition]
                    ]  # fmt: skip
                    if chunk:
                        yield chunk

    async def _unread(
        self, consumer: Any, assigned: Sequence[Any], ends: Mapping[int, int]
    ) -> bool:
        """Whether some partition has not reached its end.

        Positions tell, not records: offsets have holes, and the last ones may be some.
        """
        for at in assigned:
            if await self._call(consumer, "position", at) < ends[at.partition]:
                return True
        return False

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> "asyncio.Future[Any]":
        """Queue a record; the future ends when the broker has acknowledged it.

        Waits while the client's buffer is full, so the sender cannot outrun the broker.
        """
        producer = await self._producer_client()
        try:
            async with _deadline("the broker takes no records"):
                future: asyncio.Future[Any] = await producer.send(
                    topic, key=key, value=value, headers=list(headers), partition=partition
                )
        except (KafkaError, ValueError, AssertionError) as error:
            raise _refusal(error, f"topic {topic}") from error
        return future

    async def settle(self, futures: Sequence["asyncio.Future[Any]"]) -> None:
        """Wait until all of ``futures`` of :meth:`send` are acknowledged."""
        if not futures:
            return
        async with _deadline("records are not acknowledged"):
            results = await asyncio.gather(*futures, return_exceptions=True)
        for result in results:
            if isinstance(result, KafkaError):
                raise _refusal(result, "a record") from result
            if isinstance(result, BaseException):
                raise result

    async def close(self) -> None:
        """Close whatever clients were made; never raises and never hangs."""
        for client in (self._producer, self._admin):
            if client is not None:
                await _stop(client)

    async def _admin_client(self) -> Any:
        if self._admin is None:
            admin = AIOKafkaAdminClient(**self._options, request_timeout_ms=int(CALL_S * 1000))
            await _started(admin, self._kafka)
            self._admin = admin
        return self._admin

    async def _producer_client(self) -> Any:
        if self._producer is None:
            options: dict[str, Any] = {**self._options, **self._kafka.producer_options()}
            options |= {"acks": "all", "enable_idempotence": True}
            producer = AIOKafkaProducer(**options)
            await _started(producer, self._kafka)
            self._producer = producer
        return self._producer

    @asynccontextmanager
    async def _consumer(self, **options: Any) -> AsyncGenerator[Any]:
        defaults: dict[str, Any] = {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
        consumer = AIOKafkaConsumer(**{**self._options, **defaults, **options})
        await _started(consumer, self._kafka)
        try:
            yield consumer
        finally:
            await _stop(consumer)

    async def _call(self, client: Any, method: str, *arguments: Any) -> Any:
        try:
            async with _deadline(f"{method} was not answered"):
                return await getattr(client, method)(*arguments)
        except KafkaError as error:
            raise _refusal(error, method) from error


@asynccontextmanager
async def kafka_tools(kafka: KafkaSettings) -> AsyncGenerator[KafkaTools]:
    """A :class:`KafkaTools` that is closed at the end of the block.

    Raises:
        BrokerUnavailableError: From its methods; nothing is connected here.
    """
    # what the client has to say on its own is repeated in our errors
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    tools = KafkaTools(kafka)
    try:
        yield tools
    finally:
        await tools.close()


async def _started(client: Any, kafka: KafkaSettings) -> None:
    address = ", ".join(kafka.bootstrap_servers)
    try:
        async with asyncio.timeout(CALL_S):
            await client.start()
    except (KafkaError, TimeoutError, OSError) as error:
        await _stop(client)
        reason = str(error) or f"no answer within {CALL_S:g} s"
        raise BrokerUnavailableError(f"{address}: {reason}") from error


async def _stop(client: Any) -> None:
    """Stop ``client``; never raises, and never takes longer than its deadline."""
    stop = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    try:
        async with asyncio.timeout(_STOP_S):
            await stop()
    except (KafkaError, TimeoutError, OSError):
        pass
    except asyncio.CancelledError:
        # a client stopped soon after its start lets the cancellation of a task of its own out
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise


@asynccontextmanager
async def _deadline(what: str) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(CALL_S):
            yield
    except TimeoutError as error:
        raise BrokerUnavailableError(f"{what} within {CALL_S:g} s") from error


def _refusal(error: BaseException, what: str) -> ServiceError:
    """Our error for one of the client's."""
    text = f"{what}: {error}"
    if isinstance(error, TopicAuthorizationFailedError | GroupAuthorizationFailedError):
        return AccessDeniedError(f"{what}: access denied")
    if isinstance(error, KafkaError) and error.retriable:
        return BrokerUnavailableError(text)
    return KafkaToolError(text)
