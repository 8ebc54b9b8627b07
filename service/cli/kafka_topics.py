"""Topics, as the commands see them: how many partitions, which settings, making them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from service.cli.kafka_clients import AccessDeniedError, KafkaClients, deadline, refusal
from service.errors import ConfigurationError

_REPLICAS = 3
_SETTLE_S = 0.1
_TOPIC_NOT_AUTHORIZED = TopicAuthorizationFailedError.errno


class HiddenTopicsError(AccessDeniedError):
    """There may be such topics or not: this user may not know.

    Args:
        topics: All of them.
    """

    def __init__(self, topics: Sequence[str]) -> None:
        super().__init__(
            "\n".join(f"topic {topic}: access denied (needs DESCRIBE)" for topic in topics)
        )
        self.topics = topics


class TopicTools(KafkaClients):
    """What can be done with topics."""

    async def partitions_of(self, topic: str) -> int:
        """Number of partitions of ``topic``.

        Raises:
            ConfigurationError: If there is no such topic.
        """
        count = (await self.partitions([topic]))[topic]
        if count is None:
            raise ConfigurationError([f"there is no topic {topic}"])
        return count

    async def partitions(self, topics: Iterable[str]) -> dict[str, int | None]:
        """Number of partitions of each topic; ``None`` if there is no such topic.

        Raises:
            HiddenTopicsError: If some may not be described.
        """
        wanted = list(topics)
        described = await self.call(await self.admin_client(), "describe_topics", wanted)
        found: dict[str, int | None] = dict.fromkeys(wanted)
        hidden: list[str] = []
        for topic in described:
            if topic["error_code"] == _TOPIC_NOT_AUTHORIZED:
                hidden.append(topic["topic"])
            elif not topic["error_code"]:
                found[topic["topic"]] = len(topic["partitions"])
        if hidden:
            raise HiddenTopicsError(hidden)
        return found

    async def create_topic(
        self,
        topic: str,
        partitions: int,
        replication_factor: int | None = None,
        configs: Mapping[str, str] | None = None,
    ) -> bool:
        """Create ``topic``; ``False`` if it exists.  Three replicas unless given, or one a broker.

        Returns once every partition has a leader.
        """
        admin = await self.admin_client()
        if replication_factor is None:
            cluster = await self.call(admin, "describe_cluster")
            replication_factor = min(_REPLICAS, len(cluster["brokers"]))
        new = NewTopic(topic, partitions, replication_factor, topic_configs=configs or {})
        response = await self.call(admin, "create_topics", [new])
        for name, code, *detail in response.topic_errors:
            if code == TopicAlreadyExistsError.errno:
                return False
            if code:
                raise refusal(for_code(code)(*detail), f"topic {name}", "CREATE")
        async with deadline(f"topic {topic} has no leader"):
            while (await self.partitions([topic]))[topic] != partitions:  # noqa: ASYNC110 -- a broker tells of nothing
                await asyncio.sleep(_SETTLE_S)
        return True

    async def topic_configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """The settings of each topic that may be looked at, by name."""
        admin = await self.admin_client()
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        found: dict[str, dict[str, str]] = {}
        for response in await self.call(admin, "describe_configs", resources):
            for code, _message, _kind, name, entries in response.resources:
                if not code:
                    found[name] = {entry[0]: entry[1] for entry in entries}
        return found
