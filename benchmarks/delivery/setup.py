"""A broker, topics and a pipeline for one measurement."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.kafka.client import Kafka
from tests.kafka.server import KafkaServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """Topics and group of one measurement."""

    source: str
    output: str
    dead: str
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all measurements have in common."""

    server: KafkaServer
    kafka: Kafka
    directory: Path

    @property
    def bootstrap(self) -> str:
        return self.server.bootstrap

    def own_directory(self) -> Path:
        """A new directory, so that nobody reads the log of an earlier process."""
        return Path(mkdtemp(dir=self.directory))

    async def topics(self, partitions: int) -> Topics:
        """New topics with so many partitions each, and a new group."""
        made = Topics(
            **{name: Kafka.unique(name) for name in ("source", "output", "dead", "group")}
        )
        await self.kafka.create_topic(made.source, partitions)
        # the broker stamps outputs: with its clock, and when it has them
        await self.kafka.create_topic(
            made.output, partitions, message_timestamp_type="LogAppendTime"
        )
        await self.kafka.create_topic(made.dead, 1)
        return made

    @asynccontextmanager
    async def watching(self, topic: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
        """A function that counts the records of `topic`, over one connection."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            places = [TopicPartition(topic, at) for at in range(len(await self._ends(topic)))]

            async def count() -> int:
                return sum((await consumer.end_offsets(places)).values())

            yield count
        finally:
            await consumer.stop()

    async def _ends(self, topic: str) -> Mapping[int, int]:
        return await self.kafka.end_offsets(topic)

    def say(self, line: str) -> None:
        """One line of the report."""
        print(line, flush=True)


def pipeline(topics: Topics, *, handler: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """The configuration of one pipeline with one handler; all else as by default."""
    return {
        "admin": {"port": 0},
        "server": {"port": 0},
        "subscriptions": {"topics": []},
        "pipelines": {
            "bench": {
                "sources": {"kafka": {"topics": [topics.source], "group_id": topics.group}},
                "dead_letter": topics.dead,
                "handlers": {"bench": {"output": topics.output, **handler}},
            }
        },
        **settings,
    }
