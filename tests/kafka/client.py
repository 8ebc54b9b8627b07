"""What a test does to a broker itself: make topics, write records, read them, look at offsets.

Deliberately plain and slow beside the service: one acknowledged batch at a time, read from the
start to the end.  Nothing of the service's own Kafka code is used, so a test never checks that
code against itself.
"""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    NodeNotReadyError,
    NotControllerError,
    NotCoordinatorForGroupError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import CreateAclsRequest

Headers = Sequence[tuple[str, bytes]]
"""Headers of a record, in order; a name may come more than once."""

Input = tuple[bytes | None, bytes | None] | tuple[bytes | None, bytes | None, Headers]
"""Key, value and, where there are any, headers."""

Right = tuple[str, str, str]
"""Kind of resource, its name (a star at the end stands for any end), and the operation."""

_RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional id": 5}
_OPERATIONS = {"READ": 3, "WRITE": 4, "CREATE": 5, "DELETE": 6, "DESCRIBE": 8}
_LITERAL, _PREFIXED = 3, 4
_ALLOW = 3

_PRODUCE_WINDOW = 5000
_SETTLE_S = 10.0
_RECOVER_S = 60.0
_POLL_S = 0.02
_STARTING = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

_NO_BROKER = (InvalidReplicationFactorError, NotControllerError)
"""What a broker that the controller has not heard of for a while answers until it has."""


class Record(NamedTuple):
    """A record as it lies in Kafka."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    def header(self, name: str) -> bytes | None:
        """Value of the first header called `name`."""
        return next((value for key, value in self.headers if key == name), None)


class Kafka:
    """Clients for one broker, made when first needed and closed together.

    Args:
        bootstrap: ``host:port``.
    """

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._admin: Any = None
        self._producer: Any = None

    @staticmethod
    def unique(name: str) -> str:
        """`name` with a suffix that no other test has, for topics, groups and ids."""
        return f"{name}-{uuid.uuid4().hex[:10]}"

    async def create_topic(self, name: str, /, partitions: int = 1, **configs: Any) -> str:
        """Create `name` and wait until every partition has a leader.

        Waits for a broker that can: one that was just woken, or started, has no controller yet.

        Args:
            name: Exact name of the topic; see `unique`.
            partitions: Number of partitions.
            configs: Topic settings with ``_`` for ``.``: ``retention_ms=1000``.

        Returns:
            The name.

        Raises:
            KafkaError: If the broker refuses.
        """
        settings = {key.replace("_", "."): str(value) for key, value in configs.items()}
        topic = NewTopic(name, partitions, 1, topic_configs=settings)
        admin = await self._admin_client()
        async with asyncio.timeout(_RECOVER_S):
            while not await self._created(admin, topic):
                await asyncio.sleep(_POLL_S)
        await self._leaders(name, partitions)
        return name

    @staticmethod
    async def _created(admin: Any, topic: Any) -> bool:
        """Ask once; false if nobody could say yes or no.

        Raises:
            KafkaError: If the broker refuses.
        """
        try:
            # the client believes that there is a controller, and fails on what it is not told
            if (await admin.describe_cluster())["controller_id"] < 0:
                return False
            response = await admin.create_topics([topic])
        except (KafkaConnectionError, NodeNotReadyError):
            return False
        for _, code, *detail in response.topic_errors:
            if for_code(code) in _NO_BROKER:
                return False
            if code:
                raise for_code(code)(*detail)
        return True

    async def delete_topic(self, name: str) -> None:
        """Delete `name` and wait until that is known; a topic that does not exist is no error."""
        admin = await self._admin_client()
        await admin.delete_topics([name])
        async with asyncio.timeout(_SETTLE_S):
            while name in await admin.list_topics():
                await asyncio.sleep(_POLL_S)

    async def produce(
        self, topic: str, records: Iterable[Input], *, partition: int | None = None
    ) -> None:
        """Write `records` in order; returns when the broker has acknowledged all of them.

        Args:
            topic: An existing topic.
            records: Key, value and perhaps headers of each.
            partition: Where they go; by the key's hash if not given.
        """
        producer = await self._producer_client()
        unfinished: list[Any] = []
        for key, value, *headers in records:
            unfinished.append(
                await producer.send(
                    topic,
                    key=key,
                    value=value,
                    headers=list(headers[0]) if headers else None,
                    partition=partition,
                )
            )
            if len(unfinished) == _PRODUCE_WINDOW:
                await asyncio.gather(*unfinished)
                unfinished.clear()
        await asyncio.gather(*unfinished)

    async def consume(
        self,
        topic: str,
        count: int | None = None,
        *,
        timeout_s: float = 30.0,
        read_committed: bool = False,
    ) -> list[Record]:
        """The records of `topic` from the start, in order within each partition.

        Args:
            topic: An existing topic.
            count: Wait until there are at least so many; what is there now if not given.
            timeout_s: Longest wait, in seconds.
            read_committed: Leave out what an open or aborted transaction wrote.

        Raises:
            TimeoutError: If fewer than `count` came in time; says how many did.
        """
        records: list[Record] = []
        async with self._consumer(topic, read_committed=read_committed) as consumer:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._read(consumer, records, count)
            except TimeoutError as error:
                raise TimeoutError(
                    f"{topic}: {len(records)} records of {count} in {timeout_s} s"
                ) from error
        return records

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """One past the last record of each partition of `topic`."""
        async with self._consumer(topic) as consumer:
            ends = await consumer.end_offsets(sorted(consumer.assignment()))
        return {at.partition: end for at, end in ends.items()}

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """What `group` has committed per partition of `topic`; -1 where it has nothing."""
        admin = await self._admin_client()
        wanted = [TopicPartition(topic, number) for number in await self._partitions(topic)]
        found: dict[TopicPartition, Any] | None = None
        async with asyncio.timeout(_SETTLE_S):
            while found is None:
                try:
                    found = await admin.list_consumer_group_offsets(group, partitions=wanted)
                except _STARTING:  # the first look at any group makes the broker create its topic
                    await asyncio.sleep(_POLL_S)
        return {at.partition: found[at].offset if at in found else -1 for at in wanted}

    async def close(self) -> None:
        """Close whatever clients were made."""
        if self._producer is not None:
            await self._producer.stop()
        if self._admin is not None:
            await self._admin.close()

    async def __aenter__(self) -> Self:
        """Nothing to do before the first call."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    async def allow(self, user: str, rights: Iterable[Right]) -> None:
        """Give ``user`` exactly these rights, beside those that it has."""
        admin = await self._admin_client()
        for resource, name, operation in rights:
            prefixed = name.endswith("*")
            answer = await admin._send_request(
                CreateAclsRequest(
                    _RESOURCES[resource],
                    name.removesuffix("*"),
                    _PREFIXED if prefixed else _LITERAL,
                    f"User:{user}",
                    "*",
                    _OPERATIONS[operation],
                    _ALLOW,
                )
            )
            for error, message in answer.creation_responses:
                if error:
                    raise for_code(error)(message)

    async def _admin_client(self) -> Any:
        if self._admin is None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await admin.start()
            self._admin = admin
        return self._admin

    async def _producer_client(self) -> Any:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap, acks="all", enable_idempotence=True
            )
            await producer.start()
            self._producer = producer
        return self._producer

    async def _partitions(self, topic: str) -> list[int]:
        admin = await self._admin_client()
        (description,) = await admin.describe_topics([topic])
        if description["error_code"]:
            raise for_code(description["error_code"])(topic)
        return sorted(
            partition["partition"]
            for partition in description["partitions"]
            if partition["leader"] >= 0
        )

    async def _leaders(self, topic: str, partitions: int) -> None:
        async with asyncio.timeout(_SETTLE_S):
            while True:
                try:
                    found = len(await self._partitions(topic))
                except UnknownTopicOrPartitionError:  # this broker has not heard of it yet
                    found = 0
                if found == partitions:
                    return
                await asyncio.sleep(_POLL_S)

    @staticmethod
    async def _read(consumer: Any, records: list[Record], count: int | None) -> None:
        partitions = sorted(consumer.assignment())
        await consumer.seek_to_beginning(*partitions)
        ends = {} if count is not None else await consumer.end_offsets(partitions)
        while True:
            if count is None:
                # Positions, not a number of records: offsets have holes (transactions, compaction).
                positions = [await consumer.position(at) for at in partitions]
                if all(at >= ends[tp] for at, tp in zip(positions, partitions, strict=True)):
                    return
            elif len(records) >= count:
                return
            for fetched in (await consumer.getmany(timeout_ms=200)).values():
                records += (
                    Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
                    for r in fetched
                )

    def _consumer(self, topic: str, *, read_committed: bool = False) -> "_Reader":
        return _Reader(self, topic, "read_committed" if read_committed else "read_uncommitted")


class _Reader:
    """A consumer without a group, assigned to every partition of one topic."""

    def __init__(self, kafka: Kafka, topic: str, isolation: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._isolation = isolation
        self._consumer: Any = None

    async def __aenter__(self) -> Any:
        partitions = await self._kafka._partitions(self._topic)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka.bootstrap,
            enable_auto_commit=False,
            isolation_level=self._isolation,
            auto_offset_reset="earliest",
        )
        await self._consumer.start()
        self._consumer.assign([TopicPartition(self._topic, number) for number in partitions])
        return self._consumer

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._consumer.stop()
