"""One round: write the records, damage some, run the service over them, judge what came out."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.fuzzing.damage import damage
from tests.fuzzing.judge import Verdict, judge
from tests.fuzzing.writer import MAX_BATCH_BYTES, Writer
from tests.kafka.client import Kafka
from tests.kafka.server import KafkaServer
from tests.service_process import ServiceProcess

PARTITIONS = 8
BOMBS = 3
_LONGEST_S_PER_RECORD = 0.005
_LEAST_S = 90.0
_LATEST_STAMP = 2**63 - 1


def configuration(source: str, output: str, dead: str, group: str) -> dict[str, Any]:
    """A pipeline whose handler does what the records ask for."""
    return {
        "admin": {"port": 0},
        "server": {"port": 0},
        "pipelines": {
            "fuzzed": {
                "sources": {"kafka": {"topics": [source], "group_id": group}},
                "normalizer": "json",
                "dead_letter": dead,
                "handlers": {
                    "fuzzed": {
                        "use": "tests.fuzzing.handlers:fuzzed",
                        "output": output,
                        "concurrency": 256,
                        "timeout_s": 0.5,
                        "retry": {"attempts": 2, "initial_s": 0.005},
                    }
                },
            }
        },
    }


async def fuzz(server: KafkaServer, count: int, seed: int, directory: Path) -> Verdict:
    """Run one round of `count` records.

    Args:
        server: A broker of our own: its log files are damaged.
        count: About how many records.
        seed: Decides all of them.
        directory: Where the service's files go.
    """
    rng = random.Random(seed)
    writer = Writer(rng, PARTITIONS, BOMBS)
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(Kafka(server.bootstrap))
        source, output, dead = (kafka.unique(name) for name in ("fuzz", "out", "dead"))
        group = kafka.unique("group")
        roomy = {
            "max_message_bytes": 2 * MAX_BATCH_BYTES,
            "message_timestamp_after_max_ms": _LATEST_STAMP,
            "retention_ms": -1,
        }
        await kafka.create_topic(source, PARTITIONS, **roomy)
        await kafka.create_topic(output, PARTITIONS, retention_ms=-1)
        await kafka.create_topic(dead, 1, **roomy)
        await writer.write(server.bootstrap, source, count)
        for partition in range(PARTITIONS):
            doomed = [b for b in writer.batches if b.partition == partition and b.damage]
            damage(server.data_directory / f"{source}-{partition}", doomed, rng)
        config = configuration(source, output, dead, group)
        service = await stack.enter_async_context(
            ServiceProcess(server.bootstrap, config, directory, name=f"fuzz-{seed}")
        )
        await _all_committed(kafka, service, group, source, writer.ends)
        exit_code = await service.terminate()
        verdict = judge(
            source,
            writer.batches,
            await kafka.consume(output, timeout_s=300),
            await kafka.consume(dead, timeout_s=300),
            await kafka.committed(group, source),
        )
        if exit_code != 0:
            verdict.wrong("exit code", str(exit_code))
        for said in ("failed in a way nobody foresaw", "kafka client failed"):
            for entry in service.events(said):
                verdict.wrong(said, str(entry)[:500])
        for topic in (source, output, dead):
            await kafka.delete_topic(topic)
    return verdict


async def _all_committed(
    kafka: Kafka, service: ServiceProcess, group: str, source: str, ends: list[int]
) -> None:
    """Wait until the group has committed everything.

    Raises:
        AssertionError: If the service ends by itself, or a partition makes no progress.
    """
    total = sum(ends)
    limit_s = _LEAST_S + total * _LONGEST_S_PER_RECORD
    committed: dict[int, int] = {}
    try:
        async with asyncio.timeout(limit_s):
            while sum(max(at, 0) for at in committed.values()) < total:
                if service.ended:
                    raise AssertionError(f"the service has ended:\n{service.log[-4000:]}")
                await asyncio.sleep(0.2)
                committed = await kafka.committed(group, source)
    except TimeoutError:
        left = {at: (committed.get(at), end) for at, end in enumerate(ends)}
        raise AssertionError(f"stuck at {left}:\n{service.log[-4000:]}") from None
