"""The process under test: the public port alone, or a plain broadcast server, on a real broker.

    python -m benchmarks.edge.served (headrace|plain) BOOTSTRAP TOPIC

Prints its port, then after each line on standard input a line of JSON: resident memory, CPU time
and what the hub counts.  SIGTERM ends it.
"""

import asyncio
import resource
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import structlog
import uvloop
from aiokafka import AIOKafkaConsumer
from websockets.asyncio.server import ServerConnection, broadcast, serve

from service.channels import channel
from service.consumers.kafka_reader import KafkaReaders
from service.consumers.websocket import WebSocketSource
from service.events import RecordBatch
from service.metrics import HubCounters
from service.server.routes import ingest_route, subscribe_route
from service.server.server import PublicServer
from service.settings import ServerSettings, SubscriptionsSettings
from service.subscriptions.hub import SubscriptionHub


def main() -> None:
    kind, bootstrap, topic = sys.argv[1:]
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    run = {"headrace": headrace, "plain": plain}[kind]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(bootstrap, topic))


async def headrace(bootstrap: str, topic: str) -> None:
    settings = ServerSettings(port=0, max_connections=5000)
    subscriptions = SubscriptionsSettings(topics=(topic,))
    hub = SubscriptionHub(KafkaReaders(lambda: {"bootstrap_servers": bootstrap}))
    source = WebSocketSource("websocket")
    sender, inbox = channel[RecordBatch](10_000, items_of=len)
    server = PublicServer(
        settings,
        {
            "/subscribe": subscribe_route(hub, subscriptions, settings),
            "/ingest/logs": ingest_route(source, "logs"),
        },
        counters=hub.counters,
    )

    async def acknowledge() -> None:
        """Stand in for a pipeline whose results are durable at once."""
        async for batch in inbox:
            batch.ack_many(range(len(batch)))

    async with asyncio.TaskGroup() as tasks:
        hub.start(tasks)
        tasks.create_task(source.run(sender))
        tasks.create_task(acknowledge())
        await server.start(tasks)
        async with reporting(server.port, lambda: counters(hub.counters)):
            await terminated()
        source.stop_intake()
        await server.stop(3.0)
        hub.stop()


async def plain(bootstrap: str, topic: str) -> None:
    """What one writes first: a reader, and `broadcast` to everyone for every record."""
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
        port = next(iter(server.sockets)).getsockname()[1]
        async with reporting(port, dict):
            await terminated()
        forwarding.cancel()
    await consumer.stop()


def counters(hub: HubCounters) -> dict[str, Any]:
    return {name: getattr(hub, name) for name in HubCounters.__slots__}


@asynccontextmanager
async def reporting(port: int, facts: Callable[[], dict[str, Any]]) -> Any:
    loop = asyncio.get_running_loop()

    def report() -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        figures = {"rss": rss_bytes(), "cpu_s": usage.ru_utime + usage.ru_stime, **facts()}
        print(orjson.dumps(figures).decode(), flush=True)

    def read() -> None:
        for _ in sys.stdin:
            loop.call_soon_threadsafe(report)

    threading.Thread(target=read, daemon=True).start()
    print(port, flush=True)
    yield


def rss_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


async def terminated() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    main()
