"""Keys that are used once: what is left of them when their sessions are over."""

import asyncio
import time
from pathlib import Path

import orjson

from benchmarks.harness.cluster import Cluster
from benchmarks.harness.meter import usage_of
from benchmarks.state.service import PARTITIONS, Running, running, topics
from service.consumers.kafka_changelog import KafkaChangelogs

START_MS = 1_700_000_000_000


def _record(number: int) -> tuple[bytes, bytes]:
    return b"session-%d" % number, orjson.dumps({"t": START_MS + number // 10, "value": 1.5})


async def run(cluster: Cluster, count: int, directory: Path) -> None:
    """Every event is a session of its own; the wall clock ends the last ones."""
    async with topics(cluster) as (made, kafka):
        await cluster.load(made["source"], PARTITIONS, count, _record)
        async with running(
            cluster, directory, made, kafka, time="t", window="session", size_s=1, lateness_s=1,
            idle_s=60,
        ) as service:  # fmt: skip
            began_s, began = time.monotonic(), usage_of(service.process.pid)
            done_s = await service.committed(count, limit_s=max(600.0, count / 100)) - began_s
            spent = usage_of(service.process.pid)
            left_s = await _wait_closed(service, count)
            keys = await service.process.metric("service_state_keys")
            figures = await cluster.visible({"out": made["output"]}, PARTITIONS)
        print(
            f"sessions, {count:,} keys: {count / done_s:,.0f}/s, "
            f"{(spent.cpu_s - began.cpu_s) / count * 1e6:.1f} CPU us each, peak "
            f"{spent.peak_rss_mb:.0f} MB; all over {left_s:.1f} s later; {figures:,} figures; "
            f"keys left in the state: {keys:.0f} (one a partition is its time)"
        )
        records, ends = await _ends(cluster, service.changelog("windows"))
        alive = sum(not gone for gone in ends.values())
        print(
            f"sessions, changelog: {records:,} records of {len(ends):,} keys, "
            f"{alive} of which do not end as a tombstone"
        )


async def _wait_closed(service: Running, count: int) -> float:
    """Wait until nothing but the time of each partition is left, and all of it is written."""
    began_s = time.monotonic()
    metric = service.process.metric
    while await metric("service_state_keys") > PARTITIONS or await metric(
        "service_state_changelog_lag"
    ):
        if time.monotonic() - began_s > 300:
            raise TimeoutError(f"keys left of {count}")
        await asyncio.sleep(0.2)
    return time.monotonic() - began_s


async def _ends(cluster: Cluster, topic: str) -> tuple[int, dict[bytes, bool]]:
    """How many records there are, and whether the last one of each key is a tombstone."""
    reader = KafkaChangelogs(lambda: {"bootstrap_servers": cluster.bootstrap})
    records, ends = 0, dict[bytes, bool]()
    for partition in range(PARTITIONS):
        async with reader.read(topic, partition, 0) as chunks:
            async for chunk in chunks:
                records += len(chunk.records)
                ends.update((r.key or b"", r.value is None) for r in chunk.records)
    return records, ends
