"""As `aiokafka_tuned`, with ten transactions a second in place of wait and commit."""

import asyncio
import contextlib
import signal
from typing import Any

import uvloop

from benchmarks.peers.aiokafka_tuned import clients
from benchmarks.peers.alerts import Arguments, alert_bytes, arguments

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
                        builder = producer.create_batch()
                        for record in records:
                            alert = alert_bytes(record.value)
                            if alert is None:
                                continue
                            row = {"key": record.key, "value": alert, "timestamp": None}
                            if builder.append(**row) is None:
                                sent.append(
                                    await producer.send_batch(
                                        builder, args.output, partition=place.partition
                                    )
                                )
                                builder = producer.create_batch()
                                builder.append(**row)
                        if builder.record_count():
                            sent.append(
                                await producer.send_batch(
                                    builder, args.output, partition=place.partition
                                )
                            )
                for acknowledged in sent:
                    await acknowledged
                reached = {at: await consumer.position(at) for at in consumer.assignment()}
                if sent:
                    await producer.send_offsets_to_transaction(reached, args.group)
    finally:
        await consumer.stop()
        await producer.stop()


async def main() -> None:
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await run(arguments())


if __name__ == "__main__":
    uvloop.run(main())
