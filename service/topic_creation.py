"""Keeps the Kafka client from making topics that it only asks about.

A broker makes a topic as soon as a client asks for its metadata, if its
``auto.create.topics.enable`` is on, which is Kafka's default, and if the question allows it.  The
client's questions always do, and it has no option for that.  A misspelled topic would come to be
by ``headrace check --connect`` or ``headrace tail``, and one that was deleted would come back,
with the broker's defaults for partitions and replicas, as long as anybody still asks for it.
"""

from functools import partial
from typing import Any, Final

from aiokafka import client
from aiokafka.admin import client as admin_client
from aiokafka.protocol.metadata import MetadataRequest

PRIVATE_NAMES: Final = {
    "aiokafka.client": ("MetadataRequest",),
    "aiokafka.admin.client": ("MetadataRequest",),
}
"""What is replaced, by module; a test pins it."""

_ask_only: Final[Any] = partial(MetadataRequest, allow_auto_topic_creation=False)


def create_no_topics() -> None:
    """Have every Kafka client of this process ask for topics without making them.

    Brokers before 0.11 have no such question and go on as they did.
    """
    modules: tuple[Any, ...] = (client, admin_client)
    for module in modules:
        if getattr(module, "MetadataRequest", None) is MetadataRequest:
            module.MetadataRequest = _ask_only
