"""As `aiokafka_tuned`, with ten transactions a second in place of wait and commit."""

import asyncio
from typing import Any

import uvloop

from benchmarks.peers.aiokafka_tuned import clients, send_alerts
from benchmarks.peers.alerts import Arguments, until_sigterm

TRANSACTION_S = 0.1


async def run(args: Arguments) -> None:
    loop = asyncio.get_running_loop()
    consumer, producer = clients(args, transactional_id=args.group)
    await producer.start()
    await consumer.start()
    try:
        while True:
            async with producer.transaction():
                sent: list[Any] = []
                end_s = loop.time() + TRANSACTION_S
                while loop.time() < end_s:
                    fetched = await consumer.getmany(timeout_ms=50, max_records=8000)
                    for place, records in fetched.items():
                        sent += await send_alerts(producer, args.output, place.partition, records)
                for acknowledged in sent:
                    await acknowledged
                reached = {at: await consumer.position(at) for at in consumer.assignment()}
                if sent:
                    await producer.send_offsets_to_transaction(reached, args.group)
    finally:
        await consumer.stop()
        await producer.stop()


if __name__ == "__main__":
    uvloop.run(until_sigterm(run))
