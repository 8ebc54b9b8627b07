"""What all pipelines of a process share."""

from dataclasses import dataclass

from service.app.brokers import Brokers
from service.consumers.kafka_partition import SourcePartition
from service.delivery.quarantine import Quarantine
from service.handlers.context import Clients
from service.publishers.kafka import KafkaPublisher
from service.settings import Settings
from service.state.disk import Disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What is there once, and every pipeline is built with.

    Attributes:
        settings: The configuration.
        brokers: Where Kafka clients come from.
        publisher: Sends all results that belong to no transaction.
        clients: Those that handlers share.
        quarantine: Lets a record that may have ended earlier processes run alone.
        disk: Where state is kept, unless in memory.
    """

    settings: Settings
    brokers: Brokers
    publisher: KafkaPublisher
    clients: Clients
    quarantine: Quarantine[SourcePartition]
    disk: Disk | None
