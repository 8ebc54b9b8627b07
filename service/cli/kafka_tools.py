"""The commands' edge to Kafka: topics, groups and records behind one object.

The client itself is known to the ``kafka_*`` files beside this one alone.  Nothing here is on the
service's own path.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from service.cli.kafka_clients import AccessDeniedError, KafkaToolError
from service.cli.kafka_groups import Commit, Committed, GroupTools
from service.cli.kafka_records import Extent, RecordTools, StoredRecord
from service.cli.kafka_rights import Right, Rights, RightsTools
from service.cli.kafka_topics import HiddenTopicsError
from service.settings import KafkaSettings

__all__ = [
    "AccessDeniedError",
    "Commit",
    "Committed",
    "Extent",
    "HiddenTopicsError",
    "KafkaToolError",
    "KafkaTools",
    "Right",
    "Rights",
    "StoredRecord",
    "kafka_tools",
]


class KafkaTools(GroupTools, RecordTools, RightsTools):
    """All of it, with one client of each kind: see its bases."""


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
