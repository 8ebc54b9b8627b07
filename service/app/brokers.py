"""Where Kafka clients come from: aiokafka, or whatever a test puts in its place."""

from collections.abc import Sequence
from typing import Protocol

from service.app.connection import connection_options
from service.consumers.base import ConsumerClient
from service.consumers.kafka_changelog import KafkaChangelogs
from service.consumers.kafka_client import KafkaConsumerClient
from service.publishers.base import ProducerClient, TransactionalClient
from service.publishers.kafka_client import KafkaProducerClient
from service.settings import KafkaSettings
from service.state.restore import ChangelogReader


class Brokers(Protocol):
    """Makes the clients of one Kafka; each call makes a new one, also after a failure."""

    def consumer(
        self, topics: Sequence[str], group_id: str, instance_id: str | None
    ) -> ConsumerClient:
        """A member of ``group_id``, not started."""
        ...

    def producer(self) -> ProducerClient:
        """An idempotent producer, not started."""
        ...

    def transactional(self, transactional_id: str) -> TransactionalClient:
        """A producer with a transactional id, not started."""
        ...

    def changelogs(self) -> ChangelogReader:
        """A reader of changelogs."""
        ...


class AioKafkaBrokers:
    """The brokers that the configuration names.

    Args:
        kafka: Its settings; secrets are read anew for every connection.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    def consumer(
        self, topics: Sequence[str], group_id: str, instance_id: str | None
    ) -> ConsumerClient:
        """See :class:`Brokers`."""
        kafka = self._kafka
        extra = {} if instance_id is None else {"group_instance_id": instance_id}
        options = {**kafka.consumer_options(), **connection_options(kafka), **extra}
        return KafkaConsumerClient(topics, group_id, options)

    def producer(self) -> ProducerClient:
        """See :class:`Brokers`."""
        connection = connection_options(self._kafka)
        return KafkaProducerClient({**self._kafka.producer_options(), **connection}, connection)

    def transactional(self, transactional_id: str) -> TransactionalClient:
        """See :class:`Brokers`."""
        connection = connection_options(self._kafka)
        options = {**self._kafka.producer_options(), **connection}
        return KafkaProducerClient({**options, "transactional_id": transactional_id}, connection)

    def changelogs(self) -> ChangelogReader:
        """See :class:`Brokers`."""
        return KafkaChangelogs(lambda: connection_options(self._kafka))
