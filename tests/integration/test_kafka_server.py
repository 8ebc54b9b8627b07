"""A broker that is killed keeps what it acknowledged: what the fault tests rely on."""

import asyncio

import pytest

from tests.kafka.client import Kafka
from tests.kafka.server import KafkaServer

pytestmark = [pytest.mark.integration, pytest.mark.slow]


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
