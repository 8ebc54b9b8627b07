"""What is acknowledged to RabbitMQ, and in which order; the rest is tested with a real one."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from aio_pika.abc import AbstractIncomingMessage
from pydantic import SecretStr

from service.channels import Overflow, channel
from service.consumers.rabbitmq import RabbitMqBatch, RabbitMqSource, _Finished
from service.events import RecordBatch, SourceRecord
from service.settings import RabbitMqSourceSettings


def durable(finished: _Finished) -> RabbitMqBatch:
    batch = RabbitMqBatch("queue", 0, [SourceRecord(b"")], next_offset=1)
    batch.messages = []
    batch.finished = finished
    finished.live.add(batch)
    batch.ack(0)
    return batch


async def test_all_that_is_durable_is_handed_out_before_the_end() -> None:
    finished = _Finished()
    batches = [durable(finished) for _ in range(3)]
    finished.end()

    assert [await finished.get() for _ in range(4)] == [*batches, None]


async def test_who_waits_for_more_hears_of_the_end() -> None:
    finished = _Finished()

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(finished.get())
        await asyncio.sleep(1)
        finished.end()

    assert waiting.result() is None


async def test_what_a_lost_connection_delivered_is_not_acknowledged_on_the_next() -> None:
    finished = _Finished()
    batch = RabbitMqBatch("queue", 0, [SourceRecord(b"")], next_offset=1)
    batch.finished = finished
    finished.live.add(batch)

    finished.revoke()
    batch.ack(0)
    finished.end()

    assert await finished.get() is None


def message(body: bytes) -> AbstractIncomingMessage:
    fields = SimpleNamespace(body=body, headers={}, routing_key="", timestamp=None)
    return cast("AbstractIncomingMessage", fields)


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_a_full_channel_makes_the_queue_wait_whatever_it_does_to_others(
    overflow: Overflow,
) -> None:
    sender, inbox = channel[RecordBatch](1, overflow=overflow)
    settings = RabbitMqSourceSettings(url=SecretStr("amqp://localhost"), queue="queue")
    source = RabbitMqSource("queue", settings)
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    with sender, inbox:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(source._read(arrived, _Finished(), sender))
            for body in (b"1", b"2", b"3"):
                arrived.put_nowait(message(body))
                await asyncio.sleep(1)
            batches = [await inbox.recv() for _ in range(2)]
            reading.cancel()

    bodies = [record.value for batch in batches for record in batch.records]
    assert bodies == [b"1", b"2"]
