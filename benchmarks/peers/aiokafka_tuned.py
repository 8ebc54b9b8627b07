"""The fastest loop on aiokafka's public interface: batch builders out, acknowledgements overlapped.

Results are appended to a record batch and sent whole, which spares the accumulator's work per
record.  The batch goes to the partition that the input came from: with as many partitions on
both sides and the input's key that is where Kafka's partitioner would put it, without hashing.
The next chunk is fetched while up to eight batches await their acknowledgement; positions are
committed, twice a second, when all of them have it.
"""

import asyncio
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.peers.alerts import Arguments, alert_bytes, until_sigterm

IN_FLIGHT = 8
COMMIT_INTERVAL_S = 0.5


def clients(args: Arguments, transactional_id: str | None = None) -> tuple[Any, Any]:
    consumer = AIOKafkaConsumer(
        args.source,
        bootstrap_servers=args.bootstrap,
        group_id=args.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        max_poll_records=None,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=args.bootstrap,
        transactional_id=transactional_id,
        acks="all",
        enable_idempotence=True,
        max_batch_size=256 * 1024,
        linger_ms=0,
    )
    return consumer, producer


async def send_alerts(producer: Any, topic: str, partition: int, records: list[Any]) -> list[Any]:
    """Make the alerts of `records` into batches and send them; what their acknowledgements are."""
    sent: list[Any] = []
    builder = producer.create_batch()
    for record in records:
        alert = alert_bytes(record.value)
        if alert is None:
            continue
        if builder.append(key=record.key, value=alert, timestamp=None) is None:
            sent.append(await producer.send_batch(builder, topic, partition=partition))
            builder = producer.create_batch()
            builder.append(key=record.key, value=alert, timestamp=None)
    if builder.record_count():
        sent.append(await producer.send_batch(builder, topic, partition=partition))
    return sent


async def run(args: Arguments) -> None:
    loop = asyncio.get_running_loop()
    consumer, producer = clients(args)
    await producer.start()
    await consumer.start()
    sent: list[Any] = []
    commit_at_s = loop.time() + COMMIT_INTERVAL_S
    dirty = False
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=50, max_records=8000)
            for place, records in fetched.items():
                sent += await send_alerts(producer, args.output, place.partition, records)
            dirty = dirty or bool(fetched)
            while len(sent) > IN_FLIGHT:
                await sent.pop(0)
            if dirty and loop.time() >= commit_at_s:
                for acknowledged in sent:
                    await acknowledged
                sent.clear()
                await consumer.commit()
                dirty = False
                commit_at_s = loop.time() + COMMIT_INTERVAL_S
    finally:
        await consumer.stop()
        await producer.stop()


if __name__ == "__main__":
    uvloop.run(until_sigterm(run))
