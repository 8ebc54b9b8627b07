"""Results at a steady rate to many subscribers, some of whom may read nothing."""

import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from benchmarks.edge.clients import open_clients
from benchmarks.edge.servers import Server, headrace, plain

WARM_UP_S = 3.0
NUMBERS = re.compile(rb'"n":(\d+)')


class Receipts:
    """When each frame arrived, and which events it held; reckoned with afterwards."""

    def __init__(self) -> None:
        self.measuring = False
        self.frames: list[tuple[float, list[int]]] = []
        self._parsed: dict[bytes, list[int]] = {}

    def frame(self, payload: bytes) -> None:
        """Note a frame; most are the same bytes for everybody, and parsed once."""
        now_s = time.monotonic()
        numbers = self._parsed.get(payload)
        if numbers is None:
            if len(self._parsed) > 200:
                self._parsed.clear()
            numbers = self._parsed[payload] = [int(n) for n in NUMBERS.findall(payload)]
        if self.measuring:
            self.frames.append((now_s, numbers))

    @property
    def received(self) -> int:
        """Events received by all clients together."""
        return sum(len(numbers) for _, numbers in self.frames)

    def quantiles_ms(self, acked_at_s: list[float], *ranks: float) -> list[int]:
        """Milliseconds from Kafka's acknowledgement of an event to a client's socket."""
        counts: Counter[int] = Counter()
        for at_s, numbers in self.frames:
            for n in numbers:
                # an event can be read before its producer hears of the acknowledgement: 0
                counts[max(0, int((at_s - (acked_at_s[n] or at_s)) * 1000))] += 1
        found: list[int] = []
        total, seen = sum(counts.values()), 0
        for value in sorted(counts):
            seen += counts[value]
            while len(found) < len(ranks) and seen >= ranks[len(found)] * total:
                found.append(value)
        return found


class Producing:
    """The producer's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def end(self) -> list[float]:
        """Stop it; when each event was acknowledged."""
        self._process.terminate()
        out, _ = await self._process.communicate()
        acked_at_s: list[float] = orjson.loads(out)
        return acked_at_s


@asynccontextmanager
async def producing(bootstrap: str, topic: str, rate: int) -> AsyncIterator[Producing]:
    """Events of ``producer.py``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.edge.producer", bootstrap, topic, str(rate),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Producing(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def subscribe(topic: str) -> bytes:
    """What a client says first."""
    return orjson.dumps({"type": "subscribe", "id": 1, "topic": topic})


async def fanout(
    kind: str,
    bootstrap: str,
    topic: str,
    *,
    subscribers: int,
    rate: int,
    seconds: float,
    stalled: int = 0,
) -> dict[str, Any]:
    """One run; ``kind`` is ``headrace`` or ``plain``."""
    receipts = Receipts()
    serve = {"headrace": headrace, "plain": plain}[kind]
    async with serve(bootstrap, topic) as server:
        hello = subscribe(topic)
        clients = await open_clients(
            subscribers - stalled, server.port, "/subscribe", hello, receipts.frame
        )
        stuck = await open_clients(stalled, server.port, "/subscribe", hello, lambda _: None)
        async with producing(bootstrap, topic, rate) as events:
            await asyncio.sleep(WARM_UP_S)
            rss_mib, cpu_s = server.rss_mib, server.cpu_s
            receipts.measuring = True
            began_s = time.monotonic()
            for client in stuck:
                client.transport.pause_reading()
            stall = await watch(server, len(stuck), seconds)
            receipts.measuring = False
            took_s = time.monotonic() - began_s
            cpu = (server.cpu_s - cpu_s) / took_s
            acked_at_s = await events.end()
        closed = sum(client.closed_at_s is not None for client in clients)
        end_rss_mib = server.rss_mib
    p50_ms, p99_ms, max_ms = receipts.quantiles_ms(acked_at_s, 0.5, 0.99, 1.0)
    return {
        "events delivered/s": round(receipts.received / took_s),
        "of those due": f"{receipts.received / took_s / len(clients) / rate:.1%}",
        "frames/s": round(len(receipts.frames) / took_s),
        "p50 ms": p50_ms,
        "p99 ms": p99_ms,
        "max ms": max_ms,
        "server CPU": f"{cpu:.0%}",
        "server RSS MiB before, after": f"{rss_mib:.1f}, {end_rss_mib:.1f}",
        "others cut": closed,
        **stall,
    }


async def watch(server: Server, stalled: int, seconds: float) -> dict[str, Any]:
    """Sleep through the measurement; when the last stalled client was cut, and what they cost."""
    loop = asyncio.get_running_loop()
    began_s, rss_mib = loop.time(), server.rss_mib
    peak_mib, cut_s = rss_mib, None
    while loop.time() < began_s + seconds:
        await asyncio.sleep(0.25)
        if not stalled or cut_s is not None:
            continue
        peak_mib = max(peak_mib, server.rss_mib)
        if await server.metric("service_dashboard_slow_total") >= stalled:
            cut_s = round(loop.time() - began_s, 2)
    if not stalled:
        return {}
    return {
        "last stalled cut after s": cut_s,
        "KiB a stalled one": round((peak_mib - rss_mib) * 1024 / stalled, 1),
    }
