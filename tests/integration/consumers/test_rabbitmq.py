"""The RabbitMQ source against a real server, killed and restarted in the middle."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import orjson
import pytest

from service import Event, handler
from service.testing.harness import Harness, pipeline_of
from tests.integration.consumers.rabbitmq import SERVER, RabbitMqServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMqServer]:
    if not SERVER.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("RabbitMQ is not installed")
        pytest.skip("RabbitMQ is not installed (apt-get install rabbitmq-server)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        server = RabbitMqServer(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.close()


@handler("rabbitmq.slow", concurrency=64)
async def slow(event: Event) -> dict[str, Any]:
    await asyncio.sleep(0.002)
    return {"n": event.data["n"], "key": event.key_text}


def _config(server: RabbitMqServer, queue: str) -> dict[str, Any]:
    config = pipeline_of(slow, ordering="none")
    config["pipelines"]["test"]["sources"]["rabbitmq"] = {
        "type": "rabbitmq", "url": server.url, "queue": queue, "key_header": "k",
        "reconnect_initial_s": 0.1, "reconnect_max_s": 0.5,
    }  # fmt: skip
    return config


async def _fill(server: RabbitMqServer, queue: str, count: int) -> None:
    async with await aio_pika.connect(server.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True)
        for n in range(count):
            message = aio_pika.Message(
                orjson.dumps({"n": n}),
                headers={"k": f"k{n}"},
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await channel.default_exchange.publish(message, queue)


async def _left_becomes(server: RabbitMqServer, queue: str, count: int) -> bool:
    """Whether so many messages are ready; the broker takes a moment to take them back."""
    for _ in range(100):
        if await _left(server, queue) == count:
            return True
        await asyncio.sleep(0.05)
    return False


async def _left(server: RabbitMqServer, queue: str) -> int:
    async with await aio_pika.connect(server.url) as connection:
        channel = await connection.channel()
        declared = await channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


async def _wait_for(service: Harness, count: int, timeout_s: float = 60) -> set[int]:
    async with asyncio.timeout(timeout_s):
        while len(seen := {value["n"] for value in service.outputs()}) < count:
            await asyncio.sleep(0.05)
    return seen


async def test_messages_leave_the_queue_when_their_results_are_durable(
    rabbitmq: RabbitMqServer,
) -> None:
    await _fill(rabbitmq, "plain", 500)

    async with Harness(_config(rabbitmq, "plain")) as service:
        await _wait_for(service, 500)

    assert len(service.outputs()) == 500
    assert service.outputs()[0]["key"] == f"k{service.outputs()[0]['n']}"
    assert await _left_becomes(rabbitmq, "plain", 0)


async def test_what_is_not_durable_stays_in_the_queue(rabbitmq: RabbitMqServer) -> None:
    await _fill(rabbitmq, "kept", 100)
    async with Harness(_config(rabbitmq, "kept")) as service:
        service.broker.stop()
        await asyncio.sleep(1)
        await service.kill()

    assert await _left_becomes(rabbitmq, "kept", 100)


async def test_a_killed_broker_loses_nothing(rabbitmq: RabbitMqServer) -> None:
    count = 3000
    await _fill(rabbitmq, "killed", count)

    async with Harness(_config(rabbitmq, "killed")) as service:
        await _wait_for(service, count // 10)
        assert len(service.outputs()) < count
        await asyncio.to_thread(rabbitmq.kill)
        await asyncio.to_thread(rabbitmq.start)
        seen = await _wait_for(service, count)

    assert seen == set(range(count))
    assert await _left_becomes(rabbitmq, "killed", 0)


async def test_a_queue_that_was_deleted_and_declared_again_is_read_on(
    rabbitmq: RabbitMqServer,
) -> None:
    await _fill(rabbitmq, "again", 100)

    async with Harness(_config(rabbitmq, "again")) as service:
        await _wait_for(service, 1)
        async with await aio_pika.connect(rabbitmq.url) as connection:
            channel = await connection.channel()
            # what is in hand by then is all there is of it
            await channel.queue_delete("again")
        in_hand = await _wait_for(service, 100)
        await _fill(rabbitmq, "again", 101)
        seen = await _wait_for(service, 101)

    assert in_hand == set(range(100))
    assert seen == set(range(101))
    assert await _left_becomes(rabbitmq, "again", 0)
