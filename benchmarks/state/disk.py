"""How much memory a table of many keys takes when it lies on disk."""

import os
import time
from pathlib import Path

from benchmarks.harness.cluster import Cluster
from benchmarks.harness.meter import parse_rss_mb
from benchmarks.state.changelogs import CODEC, read_into, write
from service.app.collector import calm_collector
from service.settings.edges import StateSettings
from service.state.disk import Disk

_MIB = 1_048_576 / 1e6


async def run(cluster: Cluster, count: int, directory: Path) -> None:
    """Restore as many keys as there are records, and look at some of them."""
    calm_collector()
    settings = StateSettings()
    topic = await write(cluster, count, count)
    before = _mib("VmRSS")
    _forget_peak()
    disk = Disk(directory, cache_bytes=settings.cache_bytes, cache_keys=settings.cache_keys)
    disk.open()
    try:
        table = disk.table(time.monotonic, ttl_s=None, max_keys=count, codec=CODEC)
        reading = await read_into(cluster, topic, table)
        assert len(table) == count, len(table)
        began_s = time.process_time()
        for number in range(0, count, 7):
            assert table.get(f"key-{number}"), number
        looks = len(range(0, count, 7))
        spent_us = (time.process_time() - began_s) / looks * 1e6
        print(
            f"disk, {count:,} keys: {reading.words()}; resident {before:.0f} MiB before, "
            f"{_mib('VmRSS'):.0f} after, {_mib('VmHWM'):.0f} at the most; a look {spent_us:.1f} us"
        )
    finally:
        disk.close()
    await cluster.delete_topic(topic)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _mib(field: str) -> float:
    return parse_rss_mb(Path(f"/proc/{os.getpid()}/status").read_text(), field) / _MIB
