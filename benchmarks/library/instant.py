"""A publisher whose broker answers at once: the service's path without a network."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder

from service.publishers.base import TopicInfo
from service.publishers.kafka import KafkaPublisher
from service.publishers.kafka_client import _Writer

BATCH_BYTES = 256 * 1024


class _Producer:
    """Takes batches and stores nothing."""

    def new_batch(self) -> Any:
        return _Writer(BatchBuilder(BATCH_BYTES, 0))


class InstantPublisher(KafkaPublisher):
    """Builds real batches, which :meth:`answer` calls stored.

    Args:
        topics: What exists.
        partitions: Of each of them.
        at_once: Whether what was added is answered without a call of :meth:`answer`.

    Attributes:
        stored: Records stored so far, by topic.
    """

    def __init__(
        self, topics: Iterable[str], *, partitions: int = 4, at_once: bool = False
    ) -> None:
        super().__init__(lambda: None)  # type: ignore[arg-type,return-value]
        self._producer = _Producer()  # type: ignore[assignment]
        self._at_once = at_once
        self.topics.update(dict.fromkeys(topics, TopicInfo(partitions, 1_048_588)))
        self.stored: Counter[str] = Counter()

    def added(self, *, urgent: bool) -> None:
        """Answer what is full, or all of it when nothing more comes."""
        if self._at_once:
            self.answer(full_only=not urgent)
        else:
            super().added(urgent=urgent)

    def answer(self, *, full_only: bool = False) -> int:
        """Finish the batches and acknowledge what they were made of; returns their records."""
        answered = 0
        for output in list(self._outputs.values()):
            if not full_only:
                output.seal()
            while output.sealed:
                sealed = output.sealed.popleft()
                if sealed.writer is not None:
                    sealed.writer.finish()._build()  # type: ignore[attr-defined]
                self._stored(output, sealed)
                self.stored[output.topic] += sealed.count
                answered += sealed.count
        return answered
