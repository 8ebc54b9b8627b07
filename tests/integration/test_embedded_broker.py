"""The broker of the demo starts, serves, and leaves nothing behind."""

import asyncio
import os
import signal
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.fetch import FetchRequest

from service.cli.embedded_broker import TOPIC_SETTINGS, embedded_broker
from service.cli.kafka_tools import kafka_tools
from service.consumers.base import CommitRefusedError, CommittedOffset, TopicPartition
from service.consumers.kafka_client import KafkaConsumerClient
from service.pauses import EMPTY_S, pause_between_questions
from service.settings import KafkaSettings
from tests.kafka.client import Kafka

pytestmark = pytest.mark.integration

_PARENT = """
import asyncio
from service.cli.embedded_broker import embedded_broker

async def main():
    async with embedded_broker() as bootstrap:
        print(bootstrap, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def _refused(address: str) -> bool:
    host, port = address.split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return True
    writer.close()
    return False


async def test_records_pass_through_it_and_it_is_gone_afterwards() -> None:
    async with embedded_broker() as bootstrap, Kafka(bootstrap) as kafka:
        await kafka.create_topic("logs", partitions=4)
        await kafka.produce("logs", [(b"a", b"1"), (b"a", b"2")])
        found = await kafka.consume("logs", 2)

    assert [r.value for r in found] == [b"1", b"2"]
    assert await _refused(bootstrap)


async def test_it_forgets_old_records_of_topics_with_its_settings() -> None:
    async with embedded_broker() as bootstrap, Kafka(bootstrap) as kafka:
        settings = {key.replace(".", "_"): value for key, value in TOPIC_SETTINGS.items()}
        await kafka.create_topic("logs", 1, **settings)
        await kafka.produce("logs", [(None, b"x" * 1000)] * 4000)

        kept_bytes = 4_000_000
        async with asyncio.timeout(20):
            while kept_bytes > 1_000_000:
                await asyncio.sleep(0.5)
                kept_bytes = sum(len(r.value or b"") for r in await kafka.consume("logs"))

        assert kept_bytes > 0


async def test_it_ends_when_its_parent_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    assert parent.stdout is not None
    bootstrap = (await parent.stdout.readline()).decode().strip()
    assert not await _refused(bootstrap)

    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()

    async with asyncio.timeout(10):
        while not await _refused(bootstrap):
            await asyncio.sleep(0.05)


async def test_topics_without_news_are_not_asked_for_as_fast_as_it_answers() -> None:
    fetches = 0

    async with embedded_broker() as bootstrap, Kafka(bootstrap) as kafka:
        await kafka.create_topic("logs", 1)
        consumer: Any = AIOKafkaConsumer("logs", bootstrap_servers=bootstrap)
        send = consumer._client.send

        async def counted(node_id: int, request: object, **options: Any) -> Any:
            nonlocal fetches
            fetches += isinstance(request, FetchRequest)
            return await send(node_id, request, **options)

        consumer._client.send = counted
        pause_between_questions(consumer._client)
        await consumer.start()
        before = fetches
        await asyncio.sleep(1)
        asked = fetches - before
        await consumer.stop()

    assert 1 <= asked <= 2 / EMPTY_S


async def test_the_commands_make_no_topic_by_asking_about_it() -> None:
    # it makes topics that are asked about, as Apache Kafka does unless told otherwise
    async with embedded_broker() as bootstrap:
        settings = KafkaSettings(bootstrap_servers=(bootstrap,))
        for _ in range(2):
            async with kafka_tools(settings) as tools:
                assert await tools.partitions(["typo"]) == {"typo": None}


class _Committing:
    """A listener that commits what was read when its partitions are taken away."""

    def __init__(self, client: KafkaConsumerClient, position: int) -> None:
        self._client = client
        self._position = position
        self.assigned: asyncio.Queue[Collection[TopicPartition]] = asyncio.Queue()

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        if partitions:
            offsets = dict.fromkeys(partitions, CommittedOffset(self._position, ""))
            with suppress(CommitRefusedError):
                await self._client.commit(offsets)

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.assigned.put_nowait(partitions)


async def test_a_member_that_commits_while_another_one_joins_stays_in_the_group() -> None:
    # it refuses such a commit, which Apache Kafka takes, as one of another generation
    async with embedded_broker() as bootstrap, Kafka(bootstrap) as kafka:
        options = {
            **KafkaSettings().consumer_options(),
            "bootstrap_servers": bootstrap,
            "heartbeat_interval_ms": 300,
        }
        listeners: list[_Committing] = []
        clients: list[KafkaConsumerClient] = []
        for topic in ("a", "b"):
            await kafka.create_topic(topic, 2)
            clients.append(KafkaConsumerClient([topic], "g", options))
            listeners.append(_Committing(clients[-1], 0))
            await clients[-1].start(listeners[-1])
            async with asyncio.timeout(8):
                for listener in listeners:
                    await listener.assigned.get()

        for client in clients:
            await client.stop()
