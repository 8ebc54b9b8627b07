"""What is known of output topics, and which of their partitions a key belongs to."""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from typing import Final

import structlog

from service.delivery.backoff import Backoff
from service.delivery.record_format import BATCH_HEADER_BYTES
from service.errors import BrokerUnavailableError
from service.publishers.base import FewerPartitionsError, ProducerClient, TopicInfo
from service.publishers.kafka_partitioner import Partitioner
from service.publishers.output import RECORD_OVERHEAD_BYTES, Sealed

log = structlog.get_logger(__name__)

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0
COUNT_EVERY_S: Final = 5.0
"""Time between two looks at how many partitions topics have by what the client was told last.

It asks every 20 s, and at once when a partition is not where it was.
"""


class OutputTopics:
    """Learns of topics from whichever producer there is; what it knows outlives producers.

    Attributes:
        topics: Output topics that are known; :meth:`learn` adds to them.
        changelogs: Those of them whose partitions are not for keys to choose: each belongs to one
            input partition.
        fewer: Topics that have lost partitions, and how many they have now.
    """

    def __init__(self) -> None:
        self._producer: ProducerClient | None = None
        self._partitioner = Partitioner()
        self._unknown_since_s: dict[str, float] = {}
        self._batch_bytes: dict[str, int] = {}
        self.topics: dict[str, TopicInfo] = {}
        self.changelogs: set[str] = set()
        self.fewer: dict[str, int] = {}

    async def learn(self, topic: str) -> None:
        """Find out about ``topic``, however long the broker takes.  Cancel safe."""
        backoff = Backoff(initial_s=BACKOFF_FIRST_S, max_s=BACKOFF_MAX_S)
        while topic not in self.topics:
            self._unknown_since_s.setdefault(topic, asyncio.get_running_loop().time())
            producer = self._producer
            if producer is not None:
                try:
                    self.topics[topic] = await producer.topic_info(topic)
                except BrokerUnavailableError as exc:
                    log.warning("output topic unknown", topic=topic, error=str(exc))
                else:
                    return
            await asyncio.sleep(backoff.next_s())

    async def keep_counting(self, producer: ProducerClient) -> None:
        """Notice topics that get more partitions, or come back with fewer, until cancelled.

        Their keys move then, for every client; one that did not know would go on writing a key
        where nobody who computes its place looks for it, and where other members do not write it.

        Args:
            producer: Whom to ask; it knows most of the answers.

        Raises:
            FewerPartitionsError: If a topic was made again with fewer, as two looks have shown: a
                broker that is behind the others does not know of new partitions yet.
        """
        suspects: dict[str, int] = {}
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            await asyncio.gather(*(_told_of(producer, topic) for topic in self.topics))
            for topic, known in list(self.topics.items()):
                count = producer.partitions(topic)
                before = suspects.pop(topic, None)
                if not count or count == known.partitions:
                    continue
                if count > known.partitions:
                    self.topics[topic] = known._replace(partitions=count)
                    log.info("topic has more partitions", topic=topic, partitions=count)
                elif topic in self.changelogs:
                    # never moved elsewhere: a table is read back from the partition of its input
                    if count != before:
                        log.error(
                            "changelog has too few partitions: what belongs to the others waits",
                            topic=topic,
                            partitions=count,
                            needed=known.partitions,
                        )
                    suspects[topic] = count
                elif count == before:
                    self.fewer[topic] = count
                    raise FewerPartitionsError(topic, count)
                else:
                    suspects[topic] = count

    def fits(self, topic: str, partition: int, count: int) -> bool:
        """Whether what is for ``partition`` belongs there while ``topic`` has ``count`` of them.

        With fewer than were known every key may belong somewhere else.
        """
        if topic in self.changelogs:
            return partition < count
        return count >= self.topics[topic].partitions

    def max_record_bytes(self, topic: str) -> int:
        """Largest key, value and headers together that ``topic`` takes."""
        return self.topics[topic].max_message_bytes - RECORD_OVERHEAD_BYTES

    def batch_bytes(self, topic: str) -> int:
        """Largest batch that ``topic`` takes."""
        return self._batch_bytes.get(topic, self.topics[topic].max_message_bytes)

    def takes_less(self, topic: str, refused: Sealed) -> None:
        """``topic`` takes less than is known of it: the broker has refused a batch for its size.

        Its limit was lowered since it was read, or we may not read it and have assumed Kafka's
        default.  What is sent again has to be smaller, or it would be refused for ever.

        Args:
            topic: A topic that is in :attr:`topics`.
            refused: The batch.
        """
        size_bytes = refused.size_bytes
        if refused.count > 1:
            self._batch_bytes[topic] = min(self.batch_bytes(topic) - 1, size_bytes // 2)
        else:
            # a dead letter is cut until it fits; of a result only this is known: it does not
            letter = any(run.failed for run in refused.runs)
            limit = size_bytes // 2 if letter else size_bytes + BATCH_HEADER_BYTES - 1
            info = self.topics[topic]
            limit = min(info.max_message_bytes - 1, limit)
            self.topics[topic] = info._replace(max_message_bytes=limit)
        log.warning("topic takes less than known", topic=topic, refused_bytes=size_bytes)

    def partition_for(self, topic: str, key: bytes | None, spare: int) -> int:
        """The partition of a key, as every Kafka client computes it.

        Args:
            topic: A topic that is in :attr:`topics`.
            key: The output key.
            spare: Number to take instead when there is no key; the input's partition, so that
                records without keys keep their order.
        """
        count = self.topics[topic].partitions
        return spare % count if key is None else self._partitioner.partition(key, count)

    def partitions_for(self, topic: str, keys: Sequence[bytes | None], spare: int) -> Sequence[int]:
        """:meth:`partition_for` of each of ``keys``."""
        count = self.topics[topic].partitions
        if keys.count(None) == len(keys):
            return [spare % count] * len(keys)
        return self._partitioner.partitions(keys, count, spare % count)

    @property
    def unknown(self) -> list[str]:
        """Topics that somebody waits for."""
        return [topic for topic in self._unknown_since_s if topic not in self.topics]

    def unknown_since_s(self, but_for: Collection[str] = ()) -> list[float]:
        """Since when somebody waits for each topic that is not known yet, ``but_for`` some."""
        return [self._unknown_since_s[topic] for topic in self.unknown if topic not in but_for]


async def _told_of(producer: ProducerClient, topic: str) -> None:
    """Have ``producer`` know of ``topic``, if it is there."""
    if producer.partitions(topic) is None:
        with contextlib.suppress(BrokerUnavailableError):
            await producer.find(topic)
