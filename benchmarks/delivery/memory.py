"""Resident memory with 64 hot partitions and a handler that never ends."""

import asyncio
import os
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer

from benchmarks.delivery.setup import Bench, pipeline
from benchmarks.harness.meter import parse_rss_mb
from tests.service_process import ServiceProcess

PARTITIONS = 64
BACKLOG_BYTES = 192 * 1024 * 1024
CASES = (
    (200, None),
    (1_000, None),
    (10_000, None),
    (100_000, None),
    (250_000, None),
    (1_000, "gzip"),
    (10_000, "gzip"),
)
"""Bytes of a record, and how batches are compressed; those unpack to many times their size."""
_MIB = 1_048_576 / 1e6


async def run(bench: Bench, seconds: float) -> None:
    """Watch the process for `seconds` at each size of record, while more records arrive."""
    for size, codec in CASES:
        topics = await bench.topics(PARTITIONS)
        await _load(bench, topics.source, size, BACKLOG_BYTES, codec)
        handler = {"use": "benchmarks.delivery.handlers:stalled", "timeout_s": 3_600}
        config = pipeline(topics, handler=handler, drain_timeout_s=1.0)
        async with ServiceProcess(bench.bootstrap, config, bench.own_directory()) as service:
            await service.wait_assigned()
            samples: list[float] = []
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s:
                samples.append(_mib(service.pid, "VmRSS"))
                await _load(bench, topics.source, size, 1_000_000, codec)
                await asyncio.sleep(0.5)
            peak = _mib(service.pid, "VmHWM")
            held = await service.metric("service_in_flight_records")
        bench.say(
            f"memory: {PARTITIONS} partitions, records of {size:,} bytes, {codec or 'plain'}: "
            f"peak {peak:.0f} MiB, at the end {samples[-1]:.0f} MiB; {held:.0f} records in flight"
        )


async def _load(bench: Bench, topic: str, size: int, total_bytes: int, codec: str | None) -> None:
    """Records for all partitions, in batches of up to 512 KiB before compression."""
    filler = (
        os.urandom(size // 2).hex()[: size - 40] if codec is None else "disk full, " * (size // 11)
    )
    count = max(PARTITIONS, total_bytes // size)
    producer = AIOKafkaProducer(
        bootstrap_servers=bench.bootstrap, compression_type=codec, max_batch_size=524_288
    )
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            for number in range(partition, count, PARTITIONS):
                await producer.send(
                    topic,
                    key=b"key-%d" % (number % 500),
                    value=b'{"n":%d,"x":"%b"}' % (number, filler.encode()),
                    partition=partition,
                )
        await producer.flush()
    finally:
        await producer.stop()


def _mib(pid: int, field: str) -> float:
    return parse_rss_mb(Path(f"/proc/{pid}/status").read_text(), field) / _MIB
