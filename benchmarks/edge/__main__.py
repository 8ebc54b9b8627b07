"""The figures of the WebSocket edge, on this machine.

    python -m benchmarks.edge [--seconds 20] [--subscribers 1000] [--rate 200] [SCENARIO ...]

Scenarios: ``fanout`` (subscribers at a steady rate), ``stalled`` (50 of them read nothing),
``plain`` (the same against a plain ``websockets`` broadcast server), ``idle`` (memory of 2,000
idle connections), ``ingest`` (acknowledged events), ``shutdown`` (everybody told 1012).  All by
default.  A real Apache Kafka is started; ``HEADRACE_TEST_KAFKA`` names another.  Server, broker
and load share the machine: nothing is pinned or set aside.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import re
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.edge.clients import Client, open_clients, raise_file_limit
from tests.kafka.server import KafkaServer

NUMBERS = re.compile(rb'"n":(\d+)')
PADDING = "disk almost full on /var/lib, 93 % used, cleaning does not help"


class Served:
    """The server process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def figures(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        figures: dict[str, Any] = orjson.loads(await self.process.stdout.readline())
        return figures


@asynccontextmanager
async def served(kind: str, bootstrap: str, topic: str) -> AsyncIterator[Served]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.edge.served", kind, bootstrap, topic,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield Served(process, int(await process.stdout.readline()))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


class Latencies:
    """Milliseconds from Kafka's acknowledgement to the client's socket, over all clients."""

    def __init__(self) -> None:
        self.acked_at_s: dict[int, float] = {}
        self.frames: list[tuple[float, list[int]]] = []
        self.measuring = False
        self._parsed: dict[bytes, list[int]] = {}

    def frame(self, payload: bytes) -> None:
        now_s = time.monotonic()
        numbers = self._parsed.get(payload)
        if numbers is None:
            numbers = [int(n) for n in NUMBERS.findall(payload)]
            if len(self._parsed) > 200:
                self._parsed.clear()
            self._parsed[payload] = numbers
        if self.measuring:
            self.frames.append(
                (now_s, numbers)
            )  # reckoned with afterwards: this is the load's loop

    @property
    def received(self) -> int:
        return sum(len(numbers) for _, numbers in self.frames)

    def quantiles(self, *ranks: float) -> list[int]:
        counts: Counter[int] = Counter()
        for at_s, numbers in self.frames:
            for n in numbers:
                # an event that was there before its producer knew counts as 0
                counts[max(0, int((at_s - self.acked_at_s.get(n, at_s)) * 1000))] += 1
        found: list[int] = []
        total, seen = sum(counts.values()), 0
        for value in sorted(counts):
            seen += counts[value]
            while len(found) < len(ranks) and seen >= ranks[len(found)] * total:
                found.append(value)
        return found


async def produce(bootstrap: str, topic: str, rate: int, latencies: Latencies) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    loop = asyncio.get_running_loop()
    pending: set[asyncio.Future[Any]] = set()
    began_s = loop.time()
    try:
        for n in itertools.count():
            value = orjson.dumps({"level": "ERROR", "n": n, "message": PADDING})
            future = await producer.send(topic, value, key=b"web-%d" % (n % 20))
            pending.add(future)

            def acked(done: asyncio.Future[Any], n: int = n) -> None:
                pending.discard(done)
                latencies.acked_at_s[n] = time.monotonic()
                latencies.acked_at_s.pop(n - 100_000, None)

            future.add_done_callback(acked)
            await asyncio.sleep(max(0.0, began_s + (n + 1) / rate - loop.time()))
    finally:
        await producer.stop()


def hello(topic: str) -> bytes:
    return orjson.dumps({"type": "subscribe", "id": 1, "topic": topic})


async def fanout(kind: str, options: argparse.Namespace, topic: str, *, stalled: int = 0) -> None:
    latencies = Latencies()
    async with served(kind, options.bootstrap, topic) as server:
        clients = await open_clients(
            options.subscribers - stalled, server.port, "/subscribe", hello(topic), latencies.frame
        )
        stuck = await open_clients(stalled, server.port, "/subscribe", hello(topic), lambda _: None)
        producing = asyncio.ensure_future(  # noqa: TID251 -- a program, not the service
            produce(options.bootstrap, topic, options.rate, latencies)
        )
        await asyncio.sleep(3)
        for client in stuck:
            client.transport.pause_reading()
        stalled_at_s = asyncio.get_running_loop().time()
        before = await server.figures()
        latencies.measuring = True
        began_s = time.monotonic()
        cut_s = await watch(server, len(stuck), stalled_at_s, options.seconds)
        latencies.measuring = False
        took_s = time.monotonic() - began_s
        after = await server.figures()
        closed = sum(client.closed_at_s is not None for client in clients)
        producing.cancel()
        await asyncio.wait([producing])
    p50_ms, p99_ms, max_ms = latencies.quantiles(0.5, 0.99, 1.0)
    show(
        f"{kind}, {len(clients)} subscribers, {stalled} stalled, {options.rate} events/s",
        {
            "deliveries/s": round(latencies.received / took_s),
            "of offered": f"{latencies.received / took_s / len(clients) / options.rate:.1%}",
            "p50 ms": p50_ms,
            "p99 ms": p99_ms,
            "max ms": max_ms,
            "server CPU": f"{(after['cpu_s'] - before['cpu_s']) / took_s:.0%}",
            "server RSS MiB": round(after["rss"] / 2**20, 1),
            "others cut": closed,
            **({"last stalled cut after s": cut_s} if stalled else {}),
        },
    )


async def watch(server: Served, stalled: int, since_s: float, seconds: float) -> float | None:
    """Sleep through the measurement; when the last stalled client was cut."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    cut_s: float | None = None
    while loop.time() < end_s:
        await asyncio.sleep(0.25)
        if not stalled or cut_s is not None:
            continue
        if (await server.figures()).get("disconnected_slow", 0) >= stalled:
            cut_s = round(loop.time() - since_s, 2)
    return cut_s


async def idle(options: argparse.Namespace, topic: str) -> None:
    async with served("headrace", options.bootstrap, topic) as server:
        before = await server.figures()
        clients = await open_clients(2000, server.port, "/subscribe", hello(topic), lambda _: None)
        await asyncio.sleep(5)
        after = await server.figures()
    show(
        f"{len(clients)} idle connections, one subscription each",
        {
            "RSS grown MiB": round((after["rss"] - before["rss"]) / 2**20, 1),
            "KiB each": round((after["rss"] - before["rss"]) / 2**10 / len(clients), 1),
        },
    )


async def ingest(options: argparse.Namespace, topic: str) -> None:
    acked = 0
    window = 20  # batches of a connection without an answer

    class Producer:
        def __init__(self) -> None:
            self.room = asyncio.Semaphore(window * 100)

        def frame(self, payload: bytes) -> None:
            nonlocal acked
            if payload.startswith(b'{"type":"ack"'):
                acked += 1
                self.room.release()

        async def run(self, client: Client) -> None:
            for batch in itertools.count():
                for _ in range(100):
                    await self.room.acquire()
                client.send(
                    b"[%b]"
                    % b",".join(
                        b'{"id":%d,"event":{"level":"WARN","n":%d,"message":"%b"}}'
                        % (n, n, PADDING.encode())
                        for n in range(batch * 100, batch * 100 + 100)
                    )
                )

    async with served("headrace", options.bootstrap, topic) as server:
        producers = [Producer() for _ in range(10)]
        clients = [
            (await open_clients(1, server.port, "/ingest/logs", b"", producer.frame))[0]
            for producer in producers
        ]
        running = [
            asyncio.ensure_future(producer.run(client))  # noqa: TID251 -- as above
            for producer, client in zip(producers, clients, strict=True)
        ]
        await asyncio.sleep(1)
        before, acked_before = await server.figures(), acked
        await asyncio.sleep(options.seconds)
        after, acked_after = await server.figures(), acked
        for task in running:
            task.cancel()
        await asyncio.wait(running)
    show(
        "ingest, batches of 100 over 10 connections (results durable at once)",
        {
            "acknowledged events/s": round((acked_after - acked_before) / options.seconds),
            "server CPU": f"{(after['cpu_s'] - before['cpu_s']) / options.seconds:.0%}",
        },
    )


async def shutdown(options: argparse.Namespace, topic: str) -> None:
    async with served("headrace", options.bootstrap, topic) as server:
        clients = await open_clients(
            options.subscribers, server.port, "/subscribe", hello(topic), lambda _: None
        )
        for client in clients[:50]:
            client.transport.pause_reading()
        began_s = asyncio.get_running_loop().time()
        server.process.send_signal(signal.SIGTERM)
        await server.process.wait()
        took_s = asyncio.get_running_loop().time() - began_s
        for client in clients[:50]:
            client.transport.resume_reading()
        await asyncio.sleep(0.5)
    codes = Counter(client.close_code for client in clients)
    show(
        f"SIGTERM with {len(clients)} subscribers, 50 of them stalled",
        {"close codes": dict(codes), "process gone after s": round(took_s, 2)},
    )


def show(title: str, figures: dict[str, Any]) -> None:
    print(f"\n{title}")
    for name, value in figures.items():
        print(f"  {name:26} {value}", flush=True)


async def scenario(name: str, options: argparse.Namespace) -> None:
    topic = f"edge-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=options.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 4, 1)])
    await admin.close()
    match name:
        case "fanout":
            await fanout("headrace", options, topic)
        case "stalled":
            await fanout("headrace", options, topic, stalled=50)
        case "plain":
            await fanout("plain", options, topic)
        case "idle":
            await idle(options, topic)
        case "ingest":
            await ingest(options, topic)
        case _:
            await shutdown(options, topic)


SCENARIOS = ("fanout", "stalled", "plain", "idle", "ingest", "shutdown")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", default=SCENARIOS)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=200)
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    raise_file_limit()
    with contextlib.ExitStack() as stack:
        options.bootstrap = os.environ.get("HEADRACE_TEST_KAFKA") or (
            stack.enter_context(KafkaServer()).bootstrap
        )
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before the start")
        for name in options.scenarios:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(scenario(name, options))


if __name__ == "__main__":
    main()
