"""What one writes first: a Kafka reader, and ``websockets.broadcast`` to everyone for every record.

    python -m benchmarks.edge.plain BOOTSTRAP TOPIC

Prints its port; SIGTERM ends it.  The yardstick of the edge's figures.
"""

import asyncio
import signal
import sys

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer
from websockets.asyncio.server import ServerConnection, broadcast, serve


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(plain(*sys.argv[1:]))


async def plain(bootstrap: str, topic: str) -> None:
    clients: set[ServerConnection] = set()

    async def serve_client(client: ServerConnection) -> None:
        clients.add(client)
        try:
            await client.wait_closed()
        finally:
            clients.discard(client)

    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap)
    await consumer.start()

    async def forward() -> None:
        async for record in consumer:
            value = orjson.loads(record.value)
            broadcast(clients, orjson.dumps({"offset": record.offset, "value": value}).decode())

    async with (
        serve(serve_client, "127.0.0.1", 0, compression=None) as server,
        asyncio.TaskGroup() as tasks,
    ):
        forwarding = tasks.create_task(forward())
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await terminated()
        forwarding.cancel()
    await consumer.stop()


async def terminated() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    main()
