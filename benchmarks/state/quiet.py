"""A window of a key that falls silent: how long after its last event it is told."""

import asyncio
from pathlib import Path

import orjson

from benchmarks.harness.cluster import Cluster
from benchmarks.state.service import PARTITIONS, running, topics
from service.clock import wall_clock_ms

SIZE_S, LATENESS_S, IDLE_S = 2, 1, 5
ROUNDS = 3


async def run(cluster: Cluster, count: int, directory: Path) -> None:
    """One event in each partition, then nothing; several times."""
    del count
    late_s: list[float] = []
    async with (
        topics(cluster) as (made, kafka),
        running(
            cluster, directory, made, kafka, size_s=SIZE_S, lateness_s=LATENESS_S, idle_s=IDLE_S
        ),
    ):
        for number in range(ROUNDS):
            sent_ms = wall_clock_ms()
            for partition in range(PARTITIONS):
                value = orjson.dumps({"value": 1.0})
                record = (b"quiet-%d" % partition, value)
                await kafka.produce(made["source"], [record], partition=partition)
            await _visible(cluster, made["output"], PARTITIONS * (number + 1))
            told = await kafka.consume(made["output"])
            mine = [record for record in told if record.timestamp_ms >= sent_ms]
            assert len(mine) == PARTITIONS, len(mine)
            late_s += [(record.timestamp_ms - sent_ms) / 1000 for record in mine]
    print(
        f"quiet, idle_s {IDLE_S}, size_s {SIZE_S}, lateness_s {LATENESS_S}: told "
        f"{min(late_s):.2f} to {max(late_s):.2f} s after the event ({len(late_s)} windows)"
    )


async def _visible(cluster: Cluster, topic: str, least: int) -> None:
    while True:
        if await cluster.visible({"out": topic}, PARTITIONS) >= least:
            return
        await asyncio.sleep(0.05)
