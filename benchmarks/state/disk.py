"""How much memory a table of many keys takes when it lies on disk.

    python -m benchmarks.state.disk BOOTSTRAP TOPIC COUNT DIRECTORY

In a process of its own, which has read a changelog and done nothing else; writing the changelog
would leave memory behind that no service has.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import service.app  # noqa: F401 -- what every service has in memory too
from benchmarks.harness.cluster import Cluster, connect
from benchmarks.harness.meter import parse_rss_mb
from benchmarks.state.changelogs import CODEC, read_into, write
from service.app.collector import calm_collector
from service.settings.edges import StateSettings
from service.state.disk import Disk
from service.state.disk_table import DiskTable
from service.state.records import serde

_MIB = 1_048_576 / 1e6


async def run(cluster: Cluster, count: int, directory: Path) -> None:
    """Write a changelog with as many keys as records and have it read."""
    topic = await write(cluster, count, count)
    reading = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, cluster.bootstrap, topic, str(count), str(directory)
    )
    try:
        if await reading.wait():
            raise RuntimeError("the reader failed")
    finally:
        if reading.returncode is None:
            reading.kill()
    await cluster.delete_topic(topic)


async def _read(bootstrap: str, topic: str, count: int, directory: Path) -> None:
    """Restore every key, and look at some of them."""
    calm_collector()
    settings = StateSettings()
    before = _mib("VmRSS")
    _forget_peak()
    disk = Disk(directory, cache_bytes=settings.cache_bytes, cache_keys=settings.cache_keys)
    disk.open()
    try:
        table = DiskTable(disk, time.monotonic, ttl_s=None, max_keys=count, serde=serde(CODEC))
        async with connect(bootstrap) as cluster:
            reading = await read_into(cluster, topic, table)
        assert len(table) == count, len(table)
        restored = _mib("VmRSS")
        began_s = time.process_time()
        for number in range(0, count, 7):
            assert table.get(f"key-{number}"), number
        looks = len(range(0, count, 7))
        spent_us = (time.process_time() - began_s) / looks * 1e6
        print(
            f"disk, {count:,} keys: {reading.words()}; resident {before:.0f} MiB before, "
            f"{restored:.0f} restored, {_mib('VmRSS'):.0f} after looks, {_mib('VmHWM'):.0f} at "
            f"the most; a look {spent_us:.1f} us",
            flush=True,
        )
    finally:
        disk.close()


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _mib(field: str) -> float:
    return parse_rss_mb(Path(f"/proc/{os.getpid()}/status").read_text(), field) / _MIB


if __name__ == "__main__":
    asyncio.run(_read(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
