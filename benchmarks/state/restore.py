"""How fast a changelog becomes a table again, fetch from Kafka included."""

import time
from pathlib import Path

from benchmarks.harness.cluster import Cluster
from benchmarks.state.changelogs import CODEC, read_into, read_only, write
from service.app.collector import calm_collector
from service.state.records import serde
from service.state.table import Table

KEYS = 10_000


async def run(cluster: Cluster, count: int, directory: Path) -> None:
    """Few keys that changed often, and as many keys as there are records."""
    del directory
    calm_collector()
    for keys in (KEYS, count):
        topic = await write(cluster, count, keys)
        for _ in range(2):
            print(f"restore, fetch alone: {(await read_only(cluster, topic)).words()}", flush=True)
            table = Table(time.monotonic, ttl_s=None, max_keys=count, serde=serde(CODEC))
            reading = await read_into(cluster, topic, table)
            assert len(table) == keys, len(table)
            assert table.get("key-0")[0].aggregate.count == 10
            print(f"restore, {keys:,} keys: {reading.words()}", flush=True)
        await cluster.delete_topic(topic)
