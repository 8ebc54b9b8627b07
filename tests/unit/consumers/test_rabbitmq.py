"""What is acknowledged to RabbitMQ, and in which order; the rest is tested with a real one."""

import asyncio

from service.consumers.rabbitmq import RabbitMqBatch, _Finished
from service.events import SourceRecord


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
