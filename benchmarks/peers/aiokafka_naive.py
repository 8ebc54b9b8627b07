"""The loop that one writes first on aiokafka: ``getmany``, ``send`` each result, wait, commit."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.peers.alerts import Arguments, alert_bytes, until_sigterm


async def run(args: Arguments) -> None:
    consumer = AIOKafkaConsumer(
        args.source,
        bootstrap_servers=args.bootstrap,
        group_id=args.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=args.bootstrap, acks="all", enable_idempotence=True
    )
    await producer.start()
    await consumer.start()
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=200, max_records=2000)
            sent = []
            for records in fetched.values():
                for record in records:
                    alert = alert_bytes(record.value)
                    if alert is not None:
                        sent.append(await producer.send(args.output, alert, key=record.key))
            await asyncio.gather(*sent)
            if fetched:
                await consumer.commit()
    finally:
        await consumer.stop()
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(until_sigterm(run))
