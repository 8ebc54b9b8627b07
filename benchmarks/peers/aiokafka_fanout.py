"""As `aiokafka_tuned`, with five output topics."""

import asyncio
from typing import Any

import uvloop

from benchmarks.peers.aiokafka_tuned import COMMIT_INTERVAL_S, IN_FLIGHT, clients
from benchmarks.peers.alerts import Arguments, until_sigterm
from benchmarks.peers.fanout import results_of


class Outbox:
    """The batches on their way to the output topics."""

    def __init__(self, producer: Any, topics: list[str]) -> None:
        self._producer = producer
        self._topics = topics
        self._sent: list[Any] = []

    async def add(self, partition: int, records: list[Any]) -> None:
        """Make the results of `records` into batches and send them."""
        builders = [self._producer.create_batch() for _ in self._topics]
        for record in records:
            for topic, value in results_of(record.value):
                row = {"key": record.key, "value": value, "timestamp": None}
                if builders[topic].append(**row) is None:
                    await self._send(builders[topic], topic, partition)
                    builders[topic] = self._producer.create_batch()
                    builders[topic].append(**row)
        for topic, builder in enumerate(builders):
            if builder.record_count():
                await self._send(builder, topic, partition)

    async def settle(self, most: int) -> None:
        """Wait until at most `most` batches are unacknowledged."""
        while len(self._sent) > most:
            await self._sent.pop(0)

    async def _send(self, builder: Any, topic: int, partition: int) -> None:
        self._sent.append(
            await self._producer.send_batch(builder, self._topics[topic], partition=partition)
        )


async def run(args: Arguments) -> None:
    loop = asyncio.get_running_loop()
    consumer, producer = clients(args)
    await producer.start()
    await consumer.start()
    outbox = Outbox(producer, args.outputs)
    commit_at_s = loop.time() + COMMIT_INTERVAL_S
    dirty = False
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=50, max_records=8000)
            for place, records in fetched.items():
                await outbox.add(place.partition, records)
            dirty = dirty or bool(fetched)
            await outbox.settle(IN_FLIGHT * len(args.outputs))
            if dirty and loop.time() >= commit_at_s:
                await outbox.settle(0)
                await consumer.commit()
                dirty = False
                commit_at_s = loop.time() + COMMIT_INTERVAL_S
    finally:
        await consumer.stop()
        await producer.stop()


if __name__ == "__main__":
    uvloop.run(until_sigterm(run))
