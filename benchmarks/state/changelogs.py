"""Changelogs as `rolling_metrics` leaves them, and reading them back."""

import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from benchmarks.harness.cluster import Cluster
from service.consumers.kafka_changelog import KafkaChangelogs
from service.handlers.rolling_metrics import _decode, _encode
from service.state.keyed import Codec
from service.state.records import encode_key
from service.state.restore import restore
from service.state.table import Table
from service.windows import Window

INPUT = "values"
CODEC = Codec(_encode, _decode)


class Reading(NamedTuple):
    """One read of a changelog, in seconds."""

    records: int
    wall_s: float
    cpu_s: float

    def words(self) -> str:
        """For people."""
        return (
            f"{self.records / self.wall_s:,.0f} records/s, "
            f"{self.records / self.cpu_s:,.0f} a CPU second"
        )


async def write(cluster: Cluster, records: int, keys: int) -> str:
    """A changelog of one partition: windows of ten values of so many keys; returns its topic."""
    rng = random.Random(1)
    values = []
    for _ in range(1_000):
        window = Window(1_700_000_000_000, 1_700_000_010_000)
        for _ in range(10):
            window.aggregate.add(round(rng.lognormvariate(3, 0.5), 3))
        values.append(CODEC.encode([window]))
    topic = await cluster.create_topic("changelog", 1)
    await cluster.load(
        topic,
        1,
        records,
        lambda number: (encode_key(INPUT, f"key-{number % keys}"), values[number % 1_000]),
    )
    return topic


async def read_into(cluster: Cluster, topic: str, table: Table) -> Reading:
    """What a service does before it reads a partition."""

    async def into_table(reader: KafkaChangelogs) -> int:
        async with reader.read(topic, 0, 0) as chunks:
            restored = await restore(
                table,
                chunks,
                topic=INPUT,
                now_ms=1_700_000_000_000,
                progress=lambda _: None,
            )
        return restored.records

    return await _timed(cluster, into_table)


async def read_only(cluster: Cluster, topic: str) -> Reading:
    """The fetch and the decoding of record batches alone."""

    async def count(reader: KafkaChangelogs) -> int:
        async with reader.read(topic, 0, 0) as chunks:
            return sum([len(chunk.records) async for chunk in chunks])

    return await _timed(cluster, count)


async def _timed(cluster: Cluster, read: Callable[[KafkaChangelogs], Awaitable[int]]) -> Reading:
    reader = KafkaChangelogs(lambda: {"bootstrap_servers": cluster.bootstrap})
    began_s, cpu_s = time.perf_counter(), time.process_time()
    records = await read(reader)
    return Reading(records, time.perf_counter() - began_s, time.process_time() - cpu_s)
