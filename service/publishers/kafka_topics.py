"""What is known of output topics, and which of their partitions a key belongs to."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import structlog

from service.errors import BrokerUnavailableError
from service.publishers.base import ProducerClient, TopicInfo
from service.publishers.kafka_partitioner import Partitioner
from service.publishers.output import RECORD_OVERHEAD_BYTES, Sealed

log = structlog.get_logger(__name__)

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0
COUNT_EVERY_S: Final = 20.0
"""Time between two looks at how many partitions topics have, as often as the client looks."""
BATCH_HEADER_BYTES: Final = 61
"""Kafka's own of a batch (format v2), beside its records."""


class OutputTopics:
    """Learns of topics from whichever producer there is; what it knows outlives producers.

    Attributes:
        topics: Output topics that are known; :meth:`learn` adds to them.
    """

    def __init__(self) -> None:
        self._producer: ProducerClient | None = None
        self._partitioner = Partitioner()
        self._unknown_since_s: dict[str, float] = {}
        self._batch_bytes: dict[str, int] = {}
        self.topics: dict[str, TopicInfo] = {}

    def knows(self, topic: str) -> bool:
        """Whether :meth:`add` may be called for ``topic``; else await :meth:`learn` first."""
        return topic in self.topics

    async def learn(self, topic: str) -> None:
        """Find out about ``topic``, however long the broker takes.  Cancel safe."""
        backoff_s = BACKOFF_FIRST_S
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
            await asyncio.sleep(backoff_s)
            backoff_s = min(BACKOFF_MAX_S, 2 * backoff_s)

    async def keep_counting(self, producer: ProducerClient) -> None:
        """Notice topics that get more partitions, until cancelled.

        Their keys move then, for every client; one that did not know would go on writing a key
        where nobody who computes its place looks for it, and where other members do not write it.
        Fewer partitions are another topic of the same name, which is not for us to mend.

        Args:
            producer: Whom to ask; it knows most of the answers.
        """
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            for topic in list(self.topics):
                with contextlib.suppress(BrokerUnavailableError):
                    count = (await producer.topic_info(topic)).partitions
                    known = self.topics[topic]
                    if count > known.partitions:
                        self.topics[topic] = TopicInfo(count, known.max_message_bytes)
                        log.info("topic has more partitions", topic=topic, partitions=count)

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
            self.topics[topic] = TopicInfo(info.partitions, limit)
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

    def unknown_since_s(self) -> list[float]:
        """Since when somebody waits for each topic that is not known yet."""
        return [at_s for topic, at_s in self._unknown_since_s.items() if topic not in self.topics]
