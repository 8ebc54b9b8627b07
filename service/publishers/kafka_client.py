"""The edge to aiokafka's producer: idempotent, all replicas, whole batches only.

Records are appended straight to the client's compiled batch builder, which is what the client's
own ``append`` does after some 200 ns of bookkeeping.  The private names that this takes are in
:data:`PRIVATE_NAMES` and pinned by a test.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidProducerEpoch,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    RecordListTooLargeError,
)
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from service.errors import BrokerUnavailableError, FencedError
from service.events import Headers
from service.pauses import pause_between_questions
from service.publishers.base import (
    BatchWriter,
    ProduceFailedError,
    ProduceUnknownError,
    Row,
    TopicInfo,
)
from service.publishers.kafka_gate import Asked, ProduceGate
from service.publishers.kafka_markers import wait_briefly_for_markers
from service.publishers.kafka_settings import described
from service.topic_creation import create_no_topics
from service.whole_answers import read_whole_answers

PRIVATE_NAMES: Final = {
    "BatchBuilder": ("_builder", "_relative_offset", "_build"),
    "AIOKafkaProducer": ("_sender", "_txn_manager"),
    "Sender": ("sender_task",),
    "TransactionManager": ("_transaction_waiter",),
}
"""What is used of the client beyond its public names, by class."""

FIXED_OPTIONS: Final[Mapping[str, Any]] = {
    "acks": "all",
    "enable_idempotence": True,
    # the publisher decides when a batch goes out
    "linger_ms": 0,
}

NO_WRITE: Final = (
    "no topic may be written to (needs WRITE, and on brokers before 2.8 IDEMPOTENT_WRITE on the "
    "cluster)"
)
"""What it means that no number is given to a producer: it may write to nothing at all."""

CONNECT_TIMEOUT_S: Final = 15.0
CALL_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 2.0


def make_producer(**options: Any) -> AIOKafkaProducer:
    """A producer of the client's, not started, with all that is mended about it.

    The one place where they are made; ``options`` are the client's own.
    """
    create_no_topics()
    producer = AIOKafkaProducer(**options)
    pause_between_questions(producer.client)
    read_whole_answers(producer.client)
    return producer


class KafkaProducerClient:
    """One producer, from :meth:`start` to :meth:`stop`.

    Args:
        options: Connection and client settings, below :data:`FIXED_OPTIONS`.
        connection: The part of ``options`` that an admin client takes too.
    """

    def __init__(self, options: Mapping[str, Any], connection: Mapping[str, Any]) -> None:
        self._options = {**options, **FIXED_OPTIONS}
        self._connection = dict(connection)
        self._producer: AIOKafkaProducer | None = None
        self._gate: ProduceGate | None = None
        self._settings: dict[str, Mapping[str, str]] = {}
        self._counts: dict[str, int | None] = {}
        self._heard_s = 0.0

    async def start(self) -> None:
        """See :meth:`service.publishers.base.ProducerClient.start`."""
        producer = make_producer(**self._options)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await producer.start()
        # it asserts where the only answer that it got names no broker
        except (KafkaError, OSError, TimeoutError, AssertionError) as exc:
            await _close(producer, 1.0)
            refused = isinstance(exc, ClusterAuthorizationFailedError)
            reason = NO_WRITE if refused else f"cannot connect: {exc!r}"
            raise BrokerUnavailableError(reason) from exc
        except asyncio.CancelledError:
            await _close(producer, 1.0)
            raise
        if "transactional_id" in self._options:
            wait_briefly_for_markers(producer)
        self._hear()  # it has, by now
        producer.client.cluster.add_listener(self._hear_of_topics)
        self._gate = ProduceGate(producer, self._hear)
        self._producer = producer

    async def stop(self, deadline_s: float) -> None:
        """See :meth:`service.publishers.base.ProducerClient.stop`."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer, deadline_s)

    async def topic_info(self, topic: str) -> TopicInfo:
        """See :meth:`service.publishers.base.ProducerClient.topic_info`."""
        partitions = await self._find(topic)
        if topic not in self._settings:
            self._settings[topic] = await self._read_settings(topic)
        return described(partitions, self._settings[topic])

    async def find(self, topic: str) -> None:
        """See :meth:`service.publishers.base.ProducerClient.find`."""
        await self._find(topic)

    async def _find(self, topic: str) -> int:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return len(await self._require().partitions_for(topic))
        except (KafkaError, OSError, TimeoutError) as exc:
            raise BrokerUnavailableError(f"topic {topic}: {exc!r}") from exc

    def partitions(self, topic: str) -> int | None:
        """See :meth:`service.publishers.base.ProducerClient.partitions`."""
        if self._producer is None:
            return None
        try:
            return self._counts[topic]
        except KeyError:
            known = self._producer.client.cluster.partitions_for_topic(topic)
            count = self._counts[topic] = None if known is None else len(known)
            return count

    async def _read_settings(self, topic: str) -> Mapping[str, str]:
        """The topic's settings; none where we may not read them."""
        admin = AIOKafkaAdminClient(**self._connection, request_timeout_ms=5000)
        found: dict[str, str] = {}
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await admin.start()
                answers = await admin.describe_configs(
                    [ConfigResource(ConfigResourceType.TOPIC, topic)]
                )
            answer: Any  # the base class that the client declares has no fields
            for answer in answers:
                for resource in answer.resources:
                    found |= {entry[0]: entry[1] for entry in resource[4] if entry[1] is not None}
        except (KafkaError, OSError, TimeoutError, IndexError):
            pass
        finally:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await admin.close()
        return found

    @property
    def heard_s(self) -> float:
        """See :attr:`service.publishers.base.ProducerClient.heard_s`."""
        return self._heard_s

    def _hear_of_topics(self, _: object) -> None:
        """A broker has told of the topics; the client makes a set for each question."""
        self._counts.clear()
        self._hear()

    def _hear(self) -> None:
        """A broker has answered."""
        self._heard_s = asyncio.get_running_loop().time()

    def new_batch(self) -> BatchWriter:
        """See :meth:`service.publishers.base.ProducerClient.new_batch`."""
        return _Writer(self._require().create_batch())

    async def send(
        self,
        topic: str,
        partition: int,
        batch: BatchWriter,
        *,
        permission: Asked | None = None,
    ) -> "asyncio.Future[int]":
        """See :meth:`service.publishers.base.ProducerClient.send`."""
        if not isinstance(batch, _Writer):
            raise TypeError("a batch of another client")
        outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        builder = batch.finish()
        if permission is not None and self._gate is not None:
            self._gate.guard(builder, permission)
        try:
            stored = await self._require().send_batch(builder, topic, partition=partition)
        except (KafkaError, OSError, AssertionError, BrokerUnavailableError) as exc:
            outcome.set_exception(ProduceFailedError(f"not queued: {exc!r}"))
            return outcome

        def settle(future: "asyncio.Future[Any]") -> None:
            if outcome.done():
                return
            if future.cancelled():
                outcome.set_exception(ProduceUnknownError("cancelled"))
            elif (error := future.exception()) is not None:
                outcome.set_exception(_translated(error))
            else:
                outcome.set_result(future.result().offset)

        stored.add_done_callback(settle)
        return outcome

    async def begin(self) -> None:
        """See :meth:`service.publishers.base.TransactionalClient.begin`."""
        await self._transactional(self._require().begin_transaction())

    async def send_offsets(
        self, group: str, offsets: Mapping[tuple[str, int], tuple[int, str]]
    ) -> None:
        """See :meth:`service.publishers.base.TransactionalClient.send_offsets`."""
        positions = {
            TopicPartition(*partition): OffsetAndMetadata(*position)
            for partition, position in offsets.items()
        }
        await self._transactional(self._require().send_offsets_to_transaction(positions, group))

    async def commit(self) -> None:
        """See :meth:`service.publishers.base.TransactionalClient.commit`."""
        await self._transactional(self._require().commit_transaction())

    async def abort(self) -> None:
        """See :meth:`service.publishers.base.TransactionalClient.abort`."""
        # a fenced producer asserts here; whatever happens, it is thrown away afterwards
        with contextlib.suppress(
            KafkaError, OSError, TimeoutError, AssertionError, BrokerUnavailableError
        ):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._require().abort_transaction()

    async def _transactional(self, step: Awaitable[Any]) -> None:
        """One step of a transaction; the client retries for ever, we do not."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await step
        except (ProducerFenced, InvalidProducerEpoch) as exc:
            raise FencedError(repr(exc)) from exc
        except (KafkaError, OSError, TimeoutError, AssertionError) as exc:
            raise ProduceUnknownError(repr(exc)) from exc

    def failed(self) -> str | None:
        """See :meth:`service.publishers.base.ProducerClient.failed`."""
        if self._producer is None:
            return "closed"
        task = self._producer._sender.sender_task  # noqa: SLF001
        if task is None or not task.done():
            return None
        reason = "cancelled" if task.cancelled() else repr(task.exception())
        return f"the client's sender task has ended: {reason}"

    def _require(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise BrokerUnavailableError("the producer is closed")
        return self._producer


class _Writer:
    """Appends straight to the compiled builder and keeps the wrapper's count at the end."""

    __slots__ = ("_append", "_builder", "_size", "count")

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        self._append = builder._builder.append  # noqa: SLF001 -- see the module's docstring
        self._size = builder._builder.size  # noqa: SLF001
        self.count = 0

    @property
    def size_bytes(self) -> int:
        """See :class:`service.publishers.base.BatchWriter`."""
        size: int = self._size()
        return size

    def append(
        self, timestamp_ms: int | None, key: bytes | None, value: bytes | None, headers: Headers
    ) -> bool:
        """See :meth:`service.publishers.base.BatchWriter.append`."""
        if type(headers) is not list:
            headers = list(headers)
        if self._append(self.count, timestamp_ms, key, value, headers) is None:
            return False
        self.count += 1
        return True

    def extend(self, rows: Sequence[Row], start: int) -> int:
        """See :meth:`service.publishers.base.BatchWriter.extend`."""
        append = self._append
        first = count = self.count
        for timestamp_ms, key, value, headers in rows if not start else rows[start:]:
            if append(count, timestamp_ms, key, value, headers) is None:
                break
            count += 1
        self.count = count
        return count - first

    def rows(self) -> list[Row]:
        """See :meth:`service.publishers.base.BatchWriter.rows`."""
        stored: Any = MemoryRecords(bytes(self._builder._build())).next_batch()  # noqa: SLF001
        return [
            (record.timestamp, record.key, record.value, record.headers)
            for record in (() if stored is None else stored)
        ]

    def finish(self) -> Any:
        """The client's own batch, closed."""
        self._builder._relative_offset = self.count  # noqa: SLF001
        self._builder.close()
        return self._builder


def _translated(error: BaseException) -> Exception:
    if isinstance(error, ProducerFenced | InvalidProducerEpoch):
        return FencedError(repr(error))
    if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
        return ProduceFailedError(repr(error), too_large=True)
    if isinstance(error, InvalidTimestampError):
        problem = "a record's time is not taken: is the clock right, here and at the broker?"
        return ProduceFailedError(f"{error!r}: {problem}")
    if isinstance(error, OutOfOrderSequenceNumber) or type(error) is KafkaError:
        return ProduceUnknownError(repr(error))
    return ProduceFailedError(repr(error))


async def _close(producer: AIOKafkaProducer, deadline_s: float) -> None:
    """Close, first politely, then the sockets; nothing of it may raise."""
    try:
        await _stop(producer, deadline_s)
    finally:
        # what failed the transaction was told by a call, or by nobody's question: without a look
        # at it here as well, the loop logs its traceback when the client is collected
        waiter = getattr(getattr(producer, "_txn_manager", None), "_transaction_waiter", None)
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()


async def _stop(producer: AIOKafkaProducer, deadline_s: float) -> None:
    with contextlib.suppress(KafkaError, OSError, TimeoutError, AssertionError):
        async with asyncio.timeout(deadline_s):
            await producer.stop()
            return
    sender_task = getattr(producer._sender, "sender_task", None)  # noqa: SLF001
    if sender_task is not None:
        sender_task.cancel()
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            await producer.client.close()
