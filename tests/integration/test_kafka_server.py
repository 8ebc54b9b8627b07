"""A broker that is killed keeps what it acknowledged: what the fault tests rely on."""

import asyncio

import pytest

from tests.kafka.client import Kafka
from tests.kafka.server import KafkaServer

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SESSION_S = 3.0
"""For so long the controller takes a broker of these tests for alive without hearing it."""


async def test_a_killed_broker_returns_on_its_port_with_its_records(
    kafka_server: KafkaServer,
) -> None:
    async with Kafka(kafka_server.bootstrap) as before:
        await before.create_topic("kept")
        await before.produce("kept", [(None, b"acknowledged")])

    await asyncio.to_thread(kafka_server.kill)
    await asyncio.to_thread(kafka_server.start)

    async with Kafka(kafka_server.bootstrap) as after:
        assert [r.value for r in await after.consume("kept", 1)] == [b"acknowledged"]


async def test_a_paused_broker_answers_again_when_resumed(kafka_server: KafkaServer) -> None:
    async with Kafka(kafka_server.bootstrap) as kafka:
        await kafka.create_topic("paused")
        kafka_server.pause()

        writing = asyncio.gather(kafka.produce("paused", [(None, b"late")]))
        done, _ = await asyncio.wait([writing], timeout=0.5)
        kafka_server.resume()
        await writing

        assert not done
        assert [r.value for r in await kafka.consume("paused", 1)] == [b"late"]


async def test_a_topic_is_created_on_a_broker_that_was_paused_for_longer_than_its_session(
    kafka_server: KafkaServer,
) -> None:
    async with Kafka(kafka_server.bootstrap) as kafka:
        await kafka.create_topic("before")
        kafka_server.pause()
        await asyncio.sleep(SESSION_S + 1.0)
        kafka_server.resume()

        await kafka.create_topic("after")

        assert await kafka.end_offsets("after") == {0: 0}
