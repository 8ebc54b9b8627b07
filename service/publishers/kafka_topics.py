"""What is known of output topics, and which of their partitions a key belongs to."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from service.errors import BrokerUnavailableError
from service.publishers.base import ProducerClient, TopicInfo
from service.publishers.kafka_partitioner import Partitioner
from service.publishers.output import RECORD_OVERHEAD_BYTES

log = structlog.get_logger(__name__)

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0


class OutputTopics:
    """Learns of topics from whichever producer there is; what it knows outlives producers.

    Attributes:
        topics: Output topics that are known; :meth:`learn` adds to them.
    """

    def __init__(self) -> None:
        self._producer: ProducerClient | None = None
        self._partitioner = Partitioner()
        self._unknown_since_s: dict[str, float] = {}
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

    def max_record_bytes(self, topic: str) -> int:
        """Largest key, value and headers together that ``topic`` takes."""
        return self.topics[topic].max_message_bytes - RECORD_OVERHEAD_BYTES

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
