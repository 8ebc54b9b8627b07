"""Idle connections, acknowledged events, the pipeline beside dashboards, the end of a process."""

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks.edge.clients import Client, open_clients
from benchmarks.edge.fanout import producing, subscribe
from benchmarks.edge.servers import Server, headrace
from benchmarks.harness.cluster import connect
from benchmarks.jobs.log_events import log_value

BATCH = 100
CONNECTIONS = 10
WINDOW = 20
"""Batches of a connection without an answer."""

BACKLOG = 2_500_000
"""Events that wait for the pipeline; more than it does in the time it is watched."""


PIPELINE_ROUNDS = 7
"""Times that the pipeline is watched without subscribers and with them."""


class Speed(NamedTuple):
    """What the pipeline does."""

    events_per_s: float
    cpu_s_per_million: float


def ignore(_payload: bytes) -> None:
    """A client that only counts as one."""


async def idle(bootstrap: str, topic: str, *, connections: int = 2000) -> dict[str, Any]:
    """Memory of connections with one subscription each that nothing is sent to."""
    async with headrace(bootstrap, topic) as server:
        await asyncio.sleep(1)
        before_mib = server.rss_mib
        clients = await open_clients(
            connections, server.port, "/subscribe", subscribe(topic), ignore
        )
        await asyncio.sleep(5)
        grown_mib = server.rss_mib - before_mib
    return {
        "connections": len(clients),
        "RSS grown MiB": round(grown_mib, 1),
        "KiB each": round(grown_mib * 1024 / len(clients), 1),
    }


class IngestProducer:
    """A connection that sends batches and counts what comes back."""

    def __init__(self) -> None:
        self.acked = 0
        self.refused = 0
        self._room = asyncio.Semaphore(WINDOW * BATCH)

    def frame(self, payload: bytes) -> None:
        """Note an answer."""
        if payload.startswith(b'{"type":"ack"'):
            self.acked += 1
        else:
            self.refused += 1
        self._room.release()

    async def run(self, client: Client) -> None:
        """Send until cancelled; 3 of 10 events have a result."""
        bodies = [
            b"[%b]"
            % b",".join(
                b'{"id":%d,"event":%b}' % (n, log_value(n))
                for n in range(batch * BATCH, (batch + 1) * BATCH)
            )
            for batch in range(50)
        ]  # made before: the load should not cost more than what it measures
        for body in itertools.cycle(bodies):
            for _ in range(BATCH):
                await self._room.acquire()
            client.send(body)


async def ingest(bootstrap: str, topic: str, *, seconds: float) -> dict[str, Any]:
    """Events acknowledged once their results are in Kafka, as fast as they are taken."""
    async with headrace(bootstrap, topic) as server:
        producers = [IngestProducer() for _ in range(CONNECTIONS)]
        clients = [
            (await open_clients(1, server.port, "/ingest/logs", b"", producer.frame))[0]
            for producer in producers
        ]
        running = [
            asyncio.ensure_future(producer.run(client))  # noqa: TID251 -- a program
            for producer, client in zip(producers, clients, strict=True)
        ]
        await asyncio.sleep(2)
        if server.service:
            await server.service.status()  # latencies are of the time since an earlier look
        cpu_s, acked, began_s = server.cpu_s, sum(p.acked for p in producers), time.monotonic()
        await asyncio.sleep(seconds)
        took_s = time.monotonic() - began_s
        acked, cpu_s = sum(p.acked for p in producers) - acked, server.cpu_s - cpu_s
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        document = await server.service.status() if server.service else {}
    return {
        "acknowledged events/s": round(acked / took_s),
        "refused": sum(p.refused for p in producers),
        "server CPU": f"{cpu_s / took_s:.0%}",
        "p99 inside ms": document["pipelines"]["logs"]["latency_ms"]["p99"],
    }


async def pipeline(
    bootstrap: str, topic: str, *, subscribers: int, rate: int, seconds: float
) -> dict[str, Any]:
    """Backlog per second without and with subscribers, in turn, on the same backlog.

    The topic that is watched gets its ``rate`` in both, so only the subscribers are more.  The
    machine's speed differs from run to run by more than they cost, hence the rounds.  Last, the
    pipeline's own results are watched.  The processor time says what subscribers cost the service
    even where they, the broker and the load do not leave it a processor of its own.
    """
    async with connect(bootstrap) as cluster:
        source = await cluster.create_topic("edge.in", 4)
        await cluster.load(source, 4, BACKLOG, lambda n: (None, log_value(n)))

    async def speed(watched: str) -> Speed:
        async with producing(bootstrap, topic, rate):
            return await _backlog(
                bootstrap, topic, source, watched, subscribers=subscribers, seconds=seconds
            )

    await speed("")  # the first one finds a broker that is cold
    alone: list[Speed] = []
    beside: list[Speed] = []
    for _ in range(PIPELINE_ROUNDS):
        alone.append(await speed(""))
        beside.append(await speed(topic))
    return {
        "alone": _each(alone),
        "beside": _each(beside),
        "of alone, medians": _of(beside, alone),
        "of alone, its own results": _of([await speed(f"{topic}.out")], alone),
    }


def _each(speeds: Sequence[Speed]) -> str:
    return ", ".join(
        f"{speed.events_per_s:,.0f}/s ({speed.cpu_s_per_million:.1f} CPU s/M)" for speed in speeds
    )


def _of(speeds: Sequence[Speed], base: Sequence[Speed]) -> str:
    mine, theirs = (Speed(*map(median, zip(*each, strict=True))) for each in (speeds, base))
    return (
        f"{mine.events_per_s / theirs.events_per_s:.0%} of the events/s, "
        f"{theirs.cpu_s_per_million / mine.cpu_s_per_million:.0%} of the events a CPU second"
    )


async def _backlog(
    bootstrap: str, topic: str, source: str, watched: str, *, subscribers: int, seconds: float
) -> Speed:
    sources = {
        "kafka": {
            "topics": [source],
            "group_id": f"edge-{time.monotonic_ns()}",
            "start": "earliest",
        }
    }
    async with headrace(
        bootstrap, f"{topic}.out", sources=sources,
        subscriptions={"topics": [topic, f"{topic}.out"]},
    ) as server:  # fmt: skip
        if watched:
            await open_clients(subscribers, server.port, "/subscribe", subscribe(watched), ignore)
        return await _speed(server, seconds)


async def _speed(server: Server, seconds: float) -> Speed:
    """What the pipeline does from a second after its first record on."""
    name = "service_acknowledged_records_total"
    while not await server.metric(name):  # noqa: ASYNC110 -- it is another process
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    began_s, cpu_s, before = time.monotonic(), server.cpu_s, await server.metric(name)
    await asyncio.sleep(seconds)
    events = await server.metric(name) - before
    if before + events >= BACKLOG:
        raise RuntimeError("the backlog was too short to measure")
    return Speed(
        events_per_s=events / (time.monotonic() - began_s),
        cpu_s_per_million=(server.cpu_s - cpu_s) / events * 1e6,
    )


async def shutdown(bootstrap: str, topic: str, *, subscribers: int) -> dict[str, Any]:
    """SIGTERM, with 50 who do not read."""
    async with headrace(bootstrap, topic) as server:
        clients = await open_clients(
            subscribers, server.port, "/subscribe", subscribe(topic), ignore
        )
        for client in clients[:50]:
            client.transport.pause_reading()
        assert server.service is not None
        began_s = asyncio.get_running_loop().time()
        server.service.signal(signal.SIGTERM)
        await server.service.wait()
        took_s = asyncio.get_running_loop().time() - began_s
        for client in clients[:50]:
            client.transport.resume_reading()
        await asyncio.sleep(0.5)
    read = [client.closed_at_s - began_s for client in clients[50:] if client.closed_at_s]
    codes = Counter(client.close_code for client in clients)
    return {
        "close codes": dict(codes),
        "last reader closed after s": round(max(read), 2),
        "process gone after s": round(took_s, 2),
    }
