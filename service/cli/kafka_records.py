"""Records, as the commands see them: where they lie, reading, writing and deleting them."""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaError

from service.cli.kafka_clients import (
    CALL_S,
    KafkaToolError,
    deadline,
    may_be_taken,
    refusal,
)
from service.cli.kafka_topics import TopicTools
from service.consumers.kafka_decompress import DecompressedTooLargeError
from service.errors import BrokerUnavailableError
from service.events import Headers

_POLL_MS = 200


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


class Extent(NamedTuple):
    """What is stored of a topic, by partition.

    Attributes:
        begin: First offset.
        end: One past the last.
    """

    begin: dict[int, int]
    end: dict[int, int]


class RecordTools(TopicTools):
    """What can be done with the records of a topic."""

    async def extent(self, topic: str) -> Extent:
        """What is stored of ``topic``.

        Raises:
            ConfigurationError: If there is no such topic.
        """
        partitions = range(await self.partitions_of(topic))
        async with self.consumer_client() as consumer:
            wanted = [TopicPartition(topic, partition) for partition in partitions]
            begin = await self.call(consumer, "beginning_offsets", wanted)
            end = await self.call(consumer, "end_offsets", wanted)
        return Extent(
            {at.partition: begin[at] for at in wanted}, {at.partition: end[at] for at in wanted}
        )

    async def offsets_at(
        self, topic: str, timestamp: int, end: Mapping[int, int]
    ) -> dict[int, int]:
        """First offset at or after ``timestamp`` (ms) per partition; its ``end`` if none is."""
        async with self.consumer_client() as consumer:
            wanted = {TopicPartition(topic, partition): timestamp for partition in end}
            found = await self.call(consumer, "offsets_for_times", wanted)
        return {
            at.partition: end[at.partition] if found[at] is None else found[at].offset
            for at in wanted
        }

    async def delete_before(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Delete the records below each partition's offset, for good."""
        admin = await self.admin_client()
        wanted = {
            TopicPartition(topic, partition): RecordsToDelete(offset)
            for partition, offset in offsets.items()
        }
        what, right = f"topic {topic}", "DELETE"
        await self.call(admin, "delete_records", wanted, what=what, right=right)

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
            ends: Stop before these offsets, when all are reached; without them go on for ever,
                whatever becomes of the brokers.

        Raises:
            KafkaToolError: If an open transaction keeps back what lies before ``ends``.
        """
        if ends is not None and all(starts[number] >= ends[number] for number in starts):
            return
        async with self.consumer_client(isolation_level="read_committed") as consumer:
            assigned = [TopicPartition(topic, partition) for partition in starts]
            consumer.assign(assigned)
            for at in assigned:
                consumer.seek(at, starts[at.partition])
            loop = asyncio.get_running_loop()
            moved_s = loop.time()
            while ends is None or await self._unread(consumer, assigned, ends):
                if ends is not None and loop.time() - moved_s > CALL_S:
                    await self._refuse_standstill(consumer, topic, ends)
                    moved_s = loop.time()
                try:
                    # no deadline of ours around it: a cancelled getmany() leaks a fetch
                    fetched = await consumer.getmany(timeout_ms=_POLL_MS)
                except (KafkaError, DecompressedTooLargeError) as error:
                    raise refusal(error, f"topic {topic}", "READ") from error
                for records in fetched.values():
                    chunk = [
                        StoredRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value,
                                     r.headers)
                        for r in records
                        if ends is None or r.offset < ends[r.partition]
                    ]  # fmt: skip
                    if chunk:
                        yield chunk
                if fetched:
                    moved_s = loop.time()  # after whoever took the chunks, in their own time

    async def _refuse_standstill(self, consumer: Any, topic: str, ends: Mapping[int, int]) -> None:
        """Say why nothing comes; the client itself waits without a word, for ever.

        Raises:
            BrokerUnavailableError: If no broker answers.
            KafkaToolError: If a transaction is open.
        """
        try:
            # of one that reads what is committed: before the first open transaction
            stable = await self.call(consumer, "end_offsets", sorted(consumer.assignment()))
        except BrokerUnavailableError as error:
            raise BrokerUnavailableError(
                f"topic {topic}: nothing comes any more: {error}"
            ) from error
        for at, end in stable.items():
            position = await self.call(consumer, "position", at)
            if end <= position < ends[at.partition]:
                raise KafkaToolError(
                    f"topic {topic}: an open transaction keeps back partition {at.partition} from "
                    f"offset {position} on; it ends with its producer's transaction timeout at last"
                )

    async def _unread(
        self, consumer: Any, assigned: Sequence[Any], ends: Mapping[int, int]
    ) -> bool:
        """Whether some partition has not reached its end.

        Positions tell, not records: offsets have holes, and the last ones may be some.
        """
        for at in assigned:
            if await self.call(consumer, "position", at) < ends[at.partition]:
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
        producer = await self.producer_client()
        try:
            async with deadline("the broker takes no records"):
                future: asyncio.Future[Any]
                if key is None and value is None:
                    future = await _send_empty(producer, topic, headers, partition)
                else:
                    future = await producer.send(
                        topic, key=key, value=value, headers=list(headers), partition=partition
                    )
        except (KafkaError, ValueError, AssertionError) as error:
            raise refusal(error, f"topic {topic}", "WRITE") from error
        return future

    async def settle(
        self, futures: Sequence["asyncio.Future[Any]"], names: Sequence[str] = ()
    ) -> None:
        """Wait until all of ``futures`` of :meth:`send` are acknowledged.

        Cancel safety: they go on, as do the records, and can be waited for again.

        Args:
            futures: What :meth:`send` gave.
            names: What an error calls each of them.

        Raises:
            BrokerUnavailableError: If some may still be taken, or may have been.
            KafkaToolError: If they are refused.
        """
        if not futures:
            return
        async with deadline("records are not acknowledged"):
            await asyncio.wait(futures)  # not gather(), which would cancel them
        errors = {at: error for at, each in enumerate(futures) if (error := each.exception())}
        if errors:
            # the sequence numbers have a gap now: what came next would be refused for that alone
            await self.drop_producer()
        for at, error in sorted(errors.items(), key=lambda each: not may_be_taken(each[1])):
            if isinstance(error, KafkaError):
                # what goes along with it may be refused with it
                more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
                what = names[at] if names else "a record"
                raise refusal(error, f"{what}{more}", "WRITE") from error
            raise error


async def _send_empty(
    producer: Any, topic: str, headers: Headers, partition: int | None
) -> "asyncio.Future[Any]":
    """Queue a record without key and value, which Kafka stores, as a batch of its own.

    The client's ``send`` asserts that there is one of them; its batches do not.
    """
    if partition is None:
        partition = random.choice(sorted(await producer.partitions_for(topic)))  # noqa: S311 -- as the client does
    batch = producer.create_batch()
    batch.append(key=None, value=None, timestamp=None, headers=list(headers))
    batch.close()
    future: asyncio.Future[Any] = await producer.send_batch(batch, topic, partition=partition)
    return future
